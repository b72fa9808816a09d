-- Back to sessions that ask the page only for what is unread.
DROP TABLE page_positions;
