-- Sample tables, the two groups that short-lived users join, and the user with which OpenBao makes them.
CREATE TABLE customers (
  id integer PRIMARY KEY,
  name text NOT NULL,
  email text NOT NULL
);
CREATE TABLE orders (
  id integer PRIMARY KEY,
  customer_id integer NOT NULL REFERENCES customers (id),
  item text NOT NULL,
  quantity integer NOT NULL CHECK (quantity > 0),
  placed_at timestamptz NOT NULL
);

CREATE ROLE orders_read NOLOGIN;
CREATE ROLE orders_write NOLOGIN;
REVOKE CONNECT ON DATABASE orders FROM PUBLIC;
GRANT CONNECT ON DATABASE orders TO orders_read, orders_write;
GRANT USAGE ON SCHEMA public TO orders_read, orders_write;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO orders_read;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO orders_write;

-- No superuser: it makes and drops users, puts them into the two groups, and ends their sessions. 20-vault-admin.sh lets it in.
CREATE ROLE vault_admin NOLOGIN CREATEROLE;
GRANT orders_read, orders_write TO vault_admin WITH ADMIN OPTION;
GRANT pg_signal_backend TO vault_admin;
GRANT CONNECT ON DATABASE orders TO vault_admin;
