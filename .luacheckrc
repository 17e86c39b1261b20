std = "luajit"
cache = false
max_line_length = 120
exclude_files = { "build/" }

-- clua defines these in every script that it runs; see lua/README.md.
read_globals = { "__filename", "__dirname" }

files["spec"] = { std = "+busted" }
