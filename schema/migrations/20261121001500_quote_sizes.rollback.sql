-- What the narrower rule cannot hold is taken out.
DELETE FROM quotes WHERE (bid_price IS NULL) <> (bid_size IS NULL) OR (ask_price IS NULL) <> (ask_size IS NULL);
ALTER TABLE quotes DROP CONSTRAINT quotes_bid_check, DROP CONSTRAINT quotes_ask_check;
ALTER TABLE quotes ADD CONSTRAINT quotes_bid_check CHECK ((bid_price IS NULL) = (bid_size IS NULL));
ALTER TABLE quotes ADD CONSTRAINT quotes_ask_check CHECK ((ask_price IS NULL) = (ask_size IS NULL));
