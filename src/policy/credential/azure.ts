import { readLeased } from './kind.ts'

/** A client secret of an application of Microsoft Entra ID. */
export const azure = readLeased('azure', 'Role of the azure mount', {
  fields: ['client_id', 'client_secret'],
  optional: [],
  id: { fields: ['client_id'], type: 'client_id' },
})
