// One path a line in; hash, decode, encode (WebP, quality 80, default effort) and thumbnail; milliseconds and bytes out.
// `raw` decodes once and makes both outputs from the pixels, `clone` is the idiom of sharp's documentation.
const { createHash } = require('node:crypto')
const { readFileSync } = require('node:fs')
const { createInterface } = require('node:readline')
const sharp = require('sharp')

sharp.cache(false)
sharp.concurrency(1)

async function clone (source) {
  const image = sharp(source)
  const large = await image.clone().webp({ quality: 80 }).toBuffer()
  await image.clone().resize(256, 256, { fit: 'inside' }).webp({ quality: 75 }).toBuffer()
  return large
}

async function raw (source) {
  const { data, info } = await sharp(source).raw().toBuffer({ resolveWithObject: true })
  const pixels = { raw: { width: info.width, height: info.height, channels: info.channels } }
  const large = await sharp(data, pixels).webp({ quality: 80 }).toBuffer()
  await sharp(data, pixels).resize(256, 256, { fit: 'inside' }).webp({ quality: 75 }).toBuffer()
  return large
}

async function timed (way, path) {
  const began = performance.now()
  const before = process.cpuUsage()
  const source = readFileSync(path)
  createHash('sha256').update(source).digest('hex')
  const large = await way(source)
  const { user, system } = process.cpuUsage(before)
  return { ms: performance.now() - began, cpu_ms: (user + system) / 1000, bytes: large.length }
}

(async () => {
  for await (const path of createInterface({ input: process.stdin })) {
    const peak = () => process.resourceUsage().maxRSS / 1024
    const answer = { clone: await timed(clone, path), raw: await timed(raw, path), peak_mb: peak() }
    process.stdout.write(JSON.stringify(answer) + '\n')
  }
})()
