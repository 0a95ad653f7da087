import { messageOf } from '../../base/errors.ts'
import { type Answer, ask } from './ask.ts'
import { checked, noToken } from './bearer.ts'
import { machineSign } from './machine.ts'
import type { Platform } from './platform.ts'

const path = '/computeMetadata/v1/instance/service-accounts/default/identity'
const fix = 'give the instance or the service a service account; see cloud.google.com, "Get an ID token"'

/**
 * Google Cloud: the metadata server signs a token of the audience it is asked for. `format=full` adds which project and
 * instance it is. GOOGLE_CLOUD_PROJECT is no sign: it is set on many a laptop.
 */
export const google: Platform = {
  name: 'google',
  async sign(setting) {
    const { metadataHost, serverless } = setting.environment.platform.google
    const set = metadataHost === undefined ? serverless : 'GCE_METADATA_HOST'
    return set === undefined ? machineSign('google', setting) : `${set} is set`
  },
  async token({ environment, audience }) {
    const place = `http://${environment.platform.google.metadataHost ?? 'metadata.google.internal'}${path}`
    if (!URL.canParse(place)) throw failed('GCE_METADATA_HOST is not the name of a host')
    const url = new URL(place)
    url.search = new URLSearchParams({ audience, format: 'full' }).toString()
    let answer: Answer
    try {
      answer = await ask(url, { headers: { 'metadata-flavor': 'Google' }, local: true })
    } catch (cause) {
      throw failed(messageOf(cause), cause)
    }
    if (answer.status !== 200) throw failed(`it answered ${answer.status}`)
    return checked(answer.text, 'the answer of the metadata server of Google')
  },
}

const failed = (why: string, cause?: unknown): Error =>
  noToken(`the metadata server of Google gave no identity token: ${why}`, fix, cause)
