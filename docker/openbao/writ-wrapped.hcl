# The policy of the child token that mints one leased secret for wrapped delivery, and ends it.
path "database/creds/orders-ro"         { capabilities = ["read"] }
path "database/creds/orders-rw"         { capabilities = ["read"] }
path "database/creds/orders-rw-staging" { capabilities = ["read"] }
