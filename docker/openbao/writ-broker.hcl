# What the broker may do with the policies in policies/, line by line; docs/vault-policy.md explains each kind.
# `writ doctor` names a line that is missing, and any you add here beyond them widens what a stolen broker token can do.

path "database/creds/orders-ro"         { capabilities = ["read"] }
path "database/creds/orders-rw"         { capabilities = ["read"] }
path "database/creds/orders-rw-staging" { capabilities = ["read"] }
path "database/creds/reports-ro"        { capabilities = ["read"] }

path "pki/issue/internal-tls" { capabilities = ["update"] }
path "pki/sign/internal-tls"  { capabilities = ["update"] }
path "pki/revoke"             { capabilities = ["update"] }

path "ssh/sign/deploy"         { capabilities = ["update"] }
path "ssh/sign/deploy-staging" { capabilities = ["update"] }

path "secret/data/vendor/reporting" { capabilities = ["read"] }

# Renew, end and look at leases; the lease id travels in the body.
path "sys/leases/renew"  { capabilities = ["update"] }
path "sys/leases/revoke" { capabilities = ["update"] }
path "sys/leases/lookup" { capabilities = ["update"] }

# Find leases that are not in the ledger after a crash.
path "sys/leases/lookup/database/creds/orders-ro/"         { capabilities = ["list", "sudo"] }
path "sys/leases/lookup/database/creds/orders-rw/"         { capabilities = ["list", "sudo"] }
path "sys/leases/lookup/database/creds/orders-rw-staging/" { capabilities = ["list", "sudo"] }
path "sys/leases/lookup/database/creds/reports-ro/"        { capabilities = ["list", "sudo"] }

# Wrapped delivery: a child token for each grant, and its end.
path "auth/token/create"          { capabilities = ["update"] }
path "auth/token/revoke-accessor" { capabilities = ["update"] }
path "auth/token/lookup-accessor" { capabilities = ["update"] }

# The broker's own token.
path "auth/token/lookup-self"     { capabilities = ["read"] }
path "auth/token/renew-self"      { capabilities = ["update"] }
path "auth/token/revoke-self"     { capabilities = ["update"] }
path "sys/capabilities-self"      { capabilities = ["update"] }
