import type { Delivery } from '../contract/credential.ts'
import type { Delivery as Minting } from './engine.ts'

/** How Vault hands out what is delivered that way: what is encrypted to the caller's key is minted as it is, and encrypted by the broker. */
export const mintedAs = (delivery: Delivery): Minting => (delivery === 'wrapped' ? 'wrapped' : 'plain')
