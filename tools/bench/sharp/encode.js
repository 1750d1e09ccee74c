// Reads one JSON object a line, { source, output, quality }, writes the source as WebP of that quality at sharp's
// default effort to `output`, and prints one JSON line: the processor time of decoding and encoding in milliseconds.
const { readFileSync, writeFileSync } = require('node:fs')
const { createInterface } = require('node:readline')
const sharp = require('sharp')

sharp.cache(false)
sharp.concurrency(1)

;(async () => {
  for await (const line of createInterface({ input: process.stdin })) {
    const { source, output, quality } = JSON.parse(line)
    const content = readFileSync(source)
    const start = process.cpuUsage()
    const encoded = await sharp(content).webp({ quality }).toBuffer()
    const { user, system } = process.cpuUsage(start)
    writeFileSync(output, encoded)
    process.stdout.write(JSON.stringify({ cpu_ms: (user + system) / 1000 }) + '\n')
  }
})()
