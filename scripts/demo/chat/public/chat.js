"use strict";
const $ = (id) => document.getElementById(id);

// The browser comes again by itself, with Last-Event-ID.
const events = new EventSource("events");
events.onopen = () => { $("state").textContent = "connected"; };
events.onerror = () => { $("state").textContent = "reconnecting ..."; };
events.onmessage = (event) => {
  const message = JSON.parse(event.data);
  const line = document.createElement("li"), name = document.createElement("b");
  name.textContent = message.name;
  line.append(name, message.text);
  $("messages").append(line);
};

$("say").addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = JSON.stringify({ name: $("name").value, text: $("text").value });
  const answer = await fetch("messages", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  if (answer.ok) $("text").value = "";
  else $("state").textContent = "not said: " + answer.status;
});
