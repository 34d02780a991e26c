-- How many read its author: a post of somebody with a following is a mention by an influencer.

ALTER TABLE sentiment_posts ADD COLUMN IF NOT EXISTS followers int CHECK (followers >= 0);
