-- `transmitChecker` of a task: the transaction is tried against the chain before its first signature.
ALTER TABLE txs ADD COLUMN simulate BIGINT NOT NULL DEFAULT 0;
