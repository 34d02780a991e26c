-- A price whose size the exchange does not say is a quote: Coinbase's tickers had no sizes in 2021, and recordings of them are
-- replayed. A size without its price is still none.

ALTER TABLE quotes DROP CONSTRAINT quotes_bid_check, DROP CONSTRAINT quotes_ask_check;
ALTER TABLE quotes ADD CONSTRAINT quotes_bid_check CHECK (bid_size IS NULL OR bid_price IS NOT NULL);
ALTER TABLE quotes ADD CONSTRAINT quotes_ask_check CHECK (ask_size IS NULL OR ask_price IS NOT NULL);
