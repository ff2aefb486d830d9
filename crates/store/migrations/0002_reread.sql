-- Final blocks are read a second time, against endpoints whose logs were incomplete while a block was new.
ALTER TABLE scan_cursors ADD COLUMN reread BIGINT;
