-- Instructions of a request in all processes of the cluster. Written by `make guard-update` and nothing else.
return {
  made_with = "gcc 12.2.0, luajit 2.1.0-beta3, llhttp af384dc4a9e8, x86_64",
  ["keep-alive"] = 4037,
  ["no two heads alike"] = 6437,
  ["pipelined x16"] = 3417,
  ["connection per request"] = 9184,
  ["file"] = 8129,
}
