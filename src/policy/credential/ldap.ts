import { readLeased } from './kind.ts'

/** An entry of a directory, made and deleted by a dynamic role of an ldap mount. */
export const ldap = readLeased('ldap', 'Dynamic role of the ldap mount', {
  fields: ['username', 'password'],
  optional: ['distinguished_names'],
  id: { fields: ['username'], type: 'ldap_user' },
})
