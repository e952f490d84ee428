// hyparquet over the exports: hyparquet_reader.mjs NODE_MODULES INDEX
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'

const [modules, indexFile] = process.argv.slice(2)
const { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } = await import(`${modules}/hyparquet/src/node.js`)
const { compressors } = await import(`${modules}/hyparquet-compressors/src/index.js`)
const { version } = JSON.parse(readFileSync(`${modules}/hyparquet/package.json`))
const index = JSON.parse(readFileSync(indexFile))
const compared = ['every_type', 'trades', 'whales', 'floats', 'months_1', 'months_2', 'far']

// Days and microseconds as they are stored.
const parsers = {
  dateFromDays: days => days,
  timestampFromMicroseconds: micros => micros,
}

// `exact` takes the decimals' annotation away, so that their bytes are given, and makes integers of them.
async function rowsOf(table, exact, filter) {
  const all = []
  for (const name of index.tables[table].files) {
    const file = await asyncBufferFromFile(name)
    const metadata = await parquetMetadataAsync(file)
    const scales = new Map()
    for (const element of exact ? metadata.schema : []) {
      if (element.converted_type === 'DECIMAL') {
        scales.set(element.name, element.scale ?? 0)
        delete element.converted_type
        delete element.logical_type
      }
    }
    const rows = await parquetReadObjects({ file, metadata, compressors, parsers, utf8: false, filter })
    for (const row of rows) {
      for (const [column, scale] of scales) row[column] = decimal(row[column], scale)
      all.push(row)
    }
  }
  return all
}

// A whole number of units of 10^-scale.
function decimal(stored, scale) {
  if (stored === null || stored === undefined) return null
  let units
  if (stored instanceof Uint8Array) {
    units = BigInt.asIntN(8 * stored.length, BigInt('0x' + Buffer.from(stored).toString('hex')))
  } else {
    units = BigInt(stored)
  }
  return { units, scale }
}

function text({ units, scale }) {
  const digits = (units < 0n ? -units : units).toString().padStart(scale + 1, '0')
  const whole = digits.slice(0, digits.length - scale)
  return (units < 0n ? '-' : '') + whole + (scale ? '.' + digits.slice(digits.length - scale) : '')
}

const short = number => (number.includes('.') ? number.replace(/0+$/, '').replace(/\.$/, '') : number)

function floatHex(value, bytes) {
  const view = new DataView(new ArrayBuffer(bytes))
  if (bytes === 4) view.setFloat32(0, value)
  else view.setFloat64(0, value)
  return Buffer.from(view.buffer).toString('hex')
}

function canonical(value, kind) {
  if (value === null || value === undefined) return null
  if (kind === 'real') return floatHex(value, 4)
  if (kind === 'double precision') return floatHex(value, 8)
  if (kind === 'bytea' || kind === 'uuid') return Buffer.from(value).toString('hex')
  return value.units === undefined ? String(value) : text(value)
}

async function tried(action) {
  try {
    return await action()
  } catch (error) {
    return { error: `${error.name}: ${String(error.message).split('\n')[0].slice(0, 200)}` }
  }
}

const tables = {}
for (const table of compared) {
  tables[table] = await tried(async () => {
    const rows = await rowsOf(table, true)
    const wrong = {}
    const columns = Object.entries(index.tables[table].columns)
    for (const [name, { type, values }] of columns) {
      const at = values.findIndex((value, i) => canonical(rows[i]?.[name], type) !== value)
      if (at >= 0 || rows.length !== values.length) {
        wrong[name] = `row ${at + 1}: ${canonical(rows[at]?.[name], type)} instead of ${values[at]}`
      }
    }
    return { columns: columns.length, wrong }
  })
}

const sum = (rows, of) => rows.map(of).reduce((total, value) => total + value)
const half = createHash('md5').update('17').digest('hex')
const wallet = '0x' + (half + half).slice(0, 40)
const fee = 100000000000000003n

async function months(exact) {
  const both = [...(await rowsOf('months_1', exact)), ...(await rowsOf('months_2', exact))]
  const amount = exact
    ? short(text({ units: sum(both, row => row.amount.units), scale: 18 }))
    : String(sum(both, row => row.amount))
  const gone = both.filter(row => row.gone !== undefined && row.gone !== null).length
  return `${both.length} ${amount} ${gone} ${sum(both, row => row.extra ?? 0n)}`
}
const same = action => ({ naive: action, right: action })
const questions = {
  sum: {
    naive: async () => sum(await rowsOf('whales'), row => row.total),
    right: async () => short(text({ units: sum(await rowsOf('whales', true), row => row.total.units), scale: 18 })),
  },
  product: {
    naive: async () => sum(await rowsOf('trades'), row => row.price * row.amount),
    right: async () =>
      short(text({ units: sum(await rowsOf('trades', true), row => row.price.units * row.amount.units), scale: 36 })),
  },
  literal: {
    naive: async () => (await rowsOf('trades')).filter(row => row.fee === 0.100000000000000003).length,
    right: async () => (await rowsOf('trades', true)).filter(row => row.fee.units === fee).length,
  },
  nullable: same(async () => sum(await rowsOf('trades', true), row => row.filled_by ?? 0n)),
  padded: {
    naive: async () => (await rowsOf('every_type', true)).filter(row => row.padded === 'p1').length,
    right: async () => (await rowsOf('every_type', true)).filter(row => row.padded?.trimEnd() === 'p1').length,
  },
  nan: same(async () => (await rowsOf('floats')).filter(row => Number.isNaN(row.reading)).length),
  wallet: same(async () => (await rowsOf('trades', true, { wallet: { $eq: wallet } })).length),
  months: { naive: () => months(false), right: () => months(true) },
}
const answers = {}
for (const name of Object.keys(index.answers)) {
  const shown = async action => {
    const found = await tried(action)
    return typeof found === 'number' && !Number.isInteger(found) ? `${found} (a float)` : found?.error ? found : String(found)
  }
  answers[name] = { naive: await shown(questions[name].naive), right: await shown(questions[name].right) }
}
console.log(JSON.stringify({ reader: 'hyparquet', version, tables, answers }))
