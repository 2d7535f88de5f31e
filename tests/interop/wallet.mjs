// A wallet of a few lines: signs transactions and reads them, with two libraries from npm.
//
// Standard input is a JSON array of tasks, standard output the array of their answers:
//   {"sign": {"seed", "chain", "nonce", "lastValidHeight", "feeLimit", "actions"}}  ->  hex
//   {"read": "<hex of a transaction>"}  ->  its fields, and whether the signature is valid
//
// Byte strings travel as hex, integers as decimal text: JSON's numbers end at 2^53.
import { readFileSync } from 'node:fs'
import { decode, encode, Tag } from 'cbor2'
import * as ed from '@noble/ed25519'

const bytes = hex => Uint8Array.from(Buffer.from(hex, 'hex'))
const hex = octets => Buffer.from(octets).toString('hex')
const PROTECTED = encode(new Map([[1, -8]]))                       // {alg: EdDSA}
const sigStructure = payload => encode(['Signature1', PROTECTED, new Uint8Array(), payload])

async function sign({ seed, chain, nonce, lastValidHeight, feeLimit, actions }) {
  const key = bytes(seed)
  const payload = encode([
    1,
    bytes(chain),
    await ed.getPublicKeyAsync(key),
    BigInt(nonce),
    BigInt(lastValidHeight),
    BigInt(feeLimit),
    actions.map(([asset, to, amount]) => [1, BigInt(asset), bytes(to), BigInt(amount)]),
  ])
  const signature = await ed.signAsync(sigStructure(payload), key)
  return hex(encode(new Tag(18, [PROTECTED, new Map(), payload, signature])))
}

async function read(raw) {
  const [header, , payload, signature] = decode(bytes(raw)).contents
  const [version, chain, key, nonce, lastValidHeight, feeLimit, actions] = decode(payload)
  return {
    valid: hex(header) === hex(PROTECTED)
      && await ed.verifyAsync(signature, sigStructure(payload), key),
    version: String(version),
    chain: hex(chain),
    key: hex(key),
    nonce: String(nonce),
    lastValidHeight: String(lastValidHeight),
    feeLimit: String(feeLimit),
    actions: actions.map(([code, asset, to, amount]) =>
      [String(code), String(asset), hex(to), String(amount)]),
  }
}

const tasks = JSON.parse(readFileSync(0, 'utf8'))
const answers = []
for (const task of tasks) answers.push(task.sign ? await sign(task.sign) : await read(task.read))
console.log(JSON.stringify(answers))
