"""One module a kind of job: read in a transaction, compute outside any, record in a transaction."""
