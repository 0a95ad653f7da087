import type { Client } from 'pg'

/** Roles that the database users of the development server are members of. */
export const groups = { read: 'writ_dev_read', write: 'writ_dev_write' } as const

/** Database the example credentials open. */
const sampleDatabase = 'orders'

const tables = `
CREATE TABLE IF NOT EXISTS customers (
  id integer PRIMARY KEY,
  name text NOT NULL,
  email text NOT NULL
);
CREATE TABLE IF NOT EXISTS orders (
  id integer PRIMARY KEY,
  customer_id integer NOT NULL REFERENCES customers (id),
  item text NOT NULL,
  quantity integer NOT NULL CHECK (quantity > 0),
  placed_at timestamptz NOT NULL
);
INSERT INTO customers VALUES
  (1, 'Ada Example', 'ada@example.com'),
  (2, 'Grace Example', 'grace@example.com'),
  (3, 'Linus Example', 'linus@example.com')
ON CONFLICT DO NOTHING;
INSERT INTO orders VALUES
  (1, 1, 'teapot', 1, '2026-11-02T09:00:00Z'),
  (2, 1, 'tea, 100 g', 3, '2026-11-02T09:00:00Z'),
  (3, 2, 'kettle', 1, '2026-11-05T14:30:00Z'),
  (4, 3, 'cups', 6, '2026-11-20T18:15:00Z')
ON CONFLICT DO NOTHING;
`

const grants = `
GRANT CONNECT ON DATABASE ${sampleDatabase} TO ${groups.read}, ${groups.write};
GRANT USAGE ON SCHEMA public TO ${groups.read}, ${groups.write};
GRANT SELECT ON ALL TABLES IN SCHEMA public TO ${groups.read};
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO ${groups.write};
`

async function connected<T>(url: string, run: (client: Client) => Promise<T>): Promise<T> {
  const { Client } = (await import('pg')).default
  const client = new Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  try {
    return await run(client)
  } finally {
    await client.end()
  }
}

/** The same server, another database. */
function databaseUrl(url: string, database: string): string {
  const changed = new URL(url)
  changed.pathname = `/${database}`
  return changed.href
}

/**
 * Puts the sample tables and the groups into the server at `url` and gives the address of the database that holds them.
 * Doing it again changes nothing. `dropUsers` ends users an earlier Vault made, when that Vault is gone and nobody else will.
 */
export async function fillDatabase(url: string, options: { dropUsers: boolean }): Promise<string> {
  const target = databaseUrl(url, sampleDatabase)
  await connected(url, async (client) => {
    const { rows } = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [sampleDatabase])
    if (rows.length === 0) await client.query(`CREATE DATABASE ${sampleDatabase}`)
  })
  await connected(target, async (client) => {
    for (const group of Object.values(groups)) {
      const { rows } = await client.query('SELECT 1 FROM pg_roles WHERE rolname = $1', [group])
      if (rows.length === 0) await client.query(`CREATE ROLE ${group} NOLOGIN`)
    }
    await client.query(tables)
    await client.query(`REVOKE CONNECT ON DATABASE ${sampleDatabase} FROM PUBLIC`)
    await client.query(grants)
    if (!options.dropUsers) return
    const { rows } = await client.query<{ quoted: string }>(
      `SELECT quote_ident(rolname) AS quoted FROM pg_roles WHERE rolname LIKE 'v-%' AND pg_has_role(rolname, $1, 'member')
       OR rolname LIKE 'v-%' AND pg_has_role(rolname, $2, 'member')`,
      [groups.read, groups.write],
    )
    for (const { quoted } of rows) await client.query(`DROP ROLE ${quoted}`)
  })
  return target
}

/** The user that a static role is of, who stands before Vault knows of it, as a member of `group`. */
export async function ensureUser(url: string, name: string, group: string): Promise<void> {
  await connected(url, async (client) => {
    const { rows } = await client.query('SELECT 1 FROM pg_roles WHERE rolname = $1', [name])
    if (rows.length === 0) await client.query(`CREATE ROLE ${client.escapeIdentifier(name)} LOGIN IN ROLE ${group}`)
  })
}
