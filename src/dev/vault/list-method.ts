import { Buffer } from 'node:buffer'
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'

const list = Buffer.from('LIST ')
// A method of the same length that Node's parser knows and Vault has no use for.
const standIn = Buffer.from('LOCK ')

/** The method under which a `LIST` request arrives. */
export const listStandIn = 'LOCK'

/** A connection whose `LIST` requests Node can parse. */
export interface ListAware {
  readonly stream: Duplex
  /** Call when a request has been read whole: what comes next is the start of another. */
  requestEnded(): void
}

/**
 * Node's HTTP parser refuses the method LIST, which Vault's clients use, so the five bytes at the start of such a request
 * are replaced before it sees them. Requests are not pipelined by HTTP clients of today; a pipelined LIST answers 400.
 */
export function listAware(socket: Socket): ListAware {
  let atStart = true
  let held: Buffer = Buffer.alloc(0)
  const stream = new Duplex({
    read: () => void socket.resume(),
    write: (chunk, _encoding, done) => void socket.write(chunk, done),
    final: (done) => void socket.end(done),
    destroy: (error, done) => {
      socket.destroy()
      done(error)
    },
  })
  socket.setNoDelay(true)
  socket.on('data', (chunk: Buffer) => {
    let bytes = held.length === 0 ? chunk : Buffer.concat([held, chunk])
    held = Buffer.alloc(0)
    if (atStart) {
      if (bytes.length < list.length && list.subarray(0, bytes.length).equals(bytes)) {
        held = bytes
        return
      }
      if (bytes.subarray(0, list.length).equals(list)) bytes = Buffer.concat([standIn, bytes.subarray(list.length)])
      atStart = false
    }
    if (!stream.push(bytes)) socket.pause()
  })
  socket.on('end', () => stream.push(null))
  socket.on('error', (error) => stream.destroy(error))
  socket.on('close', () => stream.destroy())
  return {
    stream,
    requestEnded() {
      atStart = true
    },
  }
}
