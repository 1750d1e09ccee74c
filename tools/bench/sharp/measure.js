// Reads one image path a line and prints one JSON line: time, processor time and bytes of sharp's whole work on the
// image, which is to hash, decode, encode (WebP, quality 80, default effort) and write a thumbnail, in two ways:
// `clone` is the idiom of sharp's documentation, `raw` decodes once and encodes both outputs from the pixels.
const { createHash } = require('node:crypto')
const { readFileSync } = require('node:fs')
const { createInterface } = require('node:readline')
const sharp = require('sharp')

sharp.cache(false)
sharp.concurrency(1)

async function encodeByClone (source) {
  const image = sharp(source)
  const encoded = await image.clone().webp({ quality: 80 }).toBuffer()
  await image.clone().resize(256, 256, { fit: 'inside' }).webp({ quality: 75 }).toBuffer()
  return encoded
}

async function encodeFromRaw (source) {
  const { data, info } = await sharp(source).raw().toBuffer({ resolveWithObject: true })
  const pixels = { raw: { width: info.width, height: info.height, channels: info.channels } }
  const encoded = await sharp(data, pixels).webp({ quality: 80 }).toBuffer()
  await sharp(data, pixels).resize(256, 256, { fit: 'inside' }).webp({ quality: 75 }).toBuffer()
  return encoded
}

async function measure (encode, path) {
  const start = performance.now()
  const startUsage = process.cpuUsage()
  const source = readFileSync(path)
  createHash('sha256').update(source).digest('hex')
  const encoded = await encode(source)
  const { user, system } = process.cpuUsage(startUsage)
  return { ms: performance.now() - start, cpu_ms: (user + system) / 1000, bytes: encoded.length }
}

(async () => {
  for await (const path of createInterface({ input: process.stdin })) {
    const measurement = {
      clone: await measure(encodeByClone, path),
      raw: await measure(encodeFromRaw, path),
      peak_mb: process.resourceUsage().maxRSS / 1024
    }
    process.stdout.write(JSON.stringify(measurement) + '\n')
  }
})()
