// Node's http. argv: port, number of workers of its cluster (none: one process without a cluster).
const http = require('http')
const fs = require('fs')
const body1k = 'x'.repeat(1024)
const body100k = 'x'.repeat(100 * 1024)
const routes = {
  '/': (req, res) => res.end('hello world\n'),
  '/headers': (req, res) =>
    res.end(req.headers['user-agent'].length + req.headers['accept-language'].length > 0 ? 'hello world\n' : ''),
  '/json': (req, res) => {
    res.setHeader('Content-Type', 'application/json')
    res.end(JSON.stringify({ message: 'hello', count: 3, list: [1, 2, 3] }))
  },
  '/1k': (req, res) => res.end(body1k),
  '/100k': (req, res) => res.end(body100k),
  '/echo': (req, res) => {
    const parts = []
    req.on('data', (part) => parts.push(part)).on('end', () => res.end(Buffer.concat(parts)))
  },
  '/file': (req, res) => fs.createReadStream(process.env.BENCH_FILE).pipe(res),
  '/1k.txt': (req, res) => fs.createReadStream(process.env.BENCH_FOLDER + '/1k.txt').pipe(res)
}
const server = http.createServer({ keepAliveTimeout: 75000 }, (req, res) => {
  const body = { '/': 12, '/headers': 12, '/1k': 1024, '/100k': 102400 }[req.url]
  if (body) res.setHeader('Content-Length', body)
  routes[req.url](req, res)
})
const cluster = require('cluster')
const workers = Number(process.argv[3] || 0)
if (workers && cluster.isPrimary) {
  for (let i = 0; i < workers; i++) cluster.fork()
} else {
  server.listen(Number(process.argv[2]), '127.0.0.1', 4096)
}
