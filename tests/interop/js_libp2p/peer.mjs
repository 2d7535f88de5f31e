// A js-libp2p peer that does what it is told, a JSON object a line, and answers in the same way.
// What the orders mean is written in tests/interop/README.md.
import { createHash } from 'node:crypto'
import { createInterface } from 'node:readline'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

const node = await createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: {
    identify: identify(),
    ping: ping(),
    pubsub: gossipsub({ allowPublishToZeroTopicPeers: true, emitSelf: false, globalSignaturePolicy: 'StrictSign' })
  }
})

const say = object => console.log(JSON.stringify(object))
const sha256 = bytes => createHash('sha256').update(bytes).digest('hex')
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

node.services.pubsub.addEventListener('message', event => {
  say({ event: 'message', topic: event.detail.topic, data: Buffer.from(event.detail.data).toString('hex') })
})
// Pubsub adds its own protocol to the peer store, at times before identify has answered.
let identified
node.addEventListener('peer:identify', event => { identified = event.detail })
node.addEventListener('peer:disconnect', event => say({ event: 'disconnect' }))

const pattern = size => Uint8Array.from({ length: size }, (_, index) => index * 7 + (index >> 8) & 255)

async function write (stream, data) {
  for (let at = 0; at < data.length; at += 32768) {
    if (!stream.send(data.subarray(at, at + 32768))) await stream.onDrain()
  }
}

async function exchange (target, protocol, size) {
  const stream = await node.dialProtocol(multiaddr(target), protocol)
  const frame = new Uint8Array(4 + size)
  new DataView(frame.buffer).setUint32(0, size)
  frame.set(pattern(size), 4)
  const received = []
  const answer = (async () => {
    let count = 0
    for await (const piece of stream) {
      received.push(Buffer.from(piece.subarray()))
      count += piece.byteLength
      if (count >= 4 + 1 + size) return Buffer.concat(received)
    }
    throw new Error(`the stream ended after ${count} bytes`)
  })()
  await write(stream, frame)
  const bytes = await answer
  stream.abort(new Error('done'))
  return { sent: sha256(frame.subarray(4)), received: sha256(bytes.subarray(5)), status: bytes[4] }
}

async function halfClose (target, protocol, size) {
  const stream = await node.dialProtocol(multiaddr(target), protocol)
  const received = []
  const answer = (async () => {
    for await (const piece of stream) received.push(Buffer.from(piece.subarray()))
  })()
  await write(stream, pattern(size))
  await stream.close()
  await answer
  return { sent: sha256(pattern(size)), received: sha256(Buffer.concat(received)) }
}

async function drain (target, protocol) {
  const stream = await node.dialProtocol(multiaddr(target), protocol)
  let bytes = 0
  try {
    for await (const piece of stream) bytes += piece.byteLength
  } catch {}
  return { bytes, end: stream.status === 'reset' ? 'reset' : 'closed' }
}

async function until (what) {
  for (let tries = 0; tries < 200; tries++) {
    if (what()) return
    await sleep(50)
  }
  throw new Error(`waited in vain: ${what}`)
}

const commands = {
  async dial ({ target }) {
    const connection = await node.dial(multiaddr(target))
    return { muxer: connection.multiplexer, encryption: connection.encryption }
  },
  async ping ({ target }) {
    return { ms: await node.services.ping.ping(multiaddr(target)) }
  },
  async identify () {
    await until(() => identified !== undefined)
    return { protocols: identified.protocols }
  },
  async exchange ({ target, protocol, size }) {
    return await exchange(target, protocol, size)
  },
  async half_close ({ target, protocol, size }) {
    return await halfClose(target, protocol, size)
  },
  async reset ({ target, protocol, size }) {
    const stream = await node.dialProtocol(multiaddr(target), protocol)
    await write(stream, pattern(size))
    stream.abort(new Error('told to'))
    return {}
  },
  async drain ({ target, protocol }) {
    return await drain(target, protocol)
  },
  async disconnect () {
    await Promise.all(node.getConnections().map(connection => connection.close()))
    return {}
  },
  async subscribe ({ topic }) {
    node.services.pubsub.subscribe(topic)
    await until(() => node.services.pubsub.getSubscribers(topic).length > 0)
    await until(() => node.services.pubsub.getMeshPeers(topic).length > 0)
    return {}
  },
  async publish ({ topic, data }) {
    await node.services.pubsub.publish(topic, Buffer.from(data, 'hex'))
    return {}
  },
  async mirror ({ protocol }) {
    await node.handle(protocol, async stream => {
      for await (const piece of stream) {
        if (!stream.send(piece)) await stream.onDrain()
      }
      await stream.close()
    })
    return {}
  }
}

say({ event: 'ready', address: node.getMultiaddrs()[0].toString() })
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line)
  try {
    say({ answer: await commands[order.do](order) })
  } catch (error) {
    say({ error: `${error.stack ?? error}` })
  }
}
await node.stop()
process.exit(0)
