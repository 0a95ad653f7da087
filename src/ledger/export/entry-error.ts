/** An entry that an export cannot hold. The message names it and quotes nothing. */
export class EntryError extends Error {
  constructor(index: number, what: string) {
    super(`entry ${index} ${what}`)
    this.name = 'EntryError'
  }
}
