DROP FUNCTION is_by_author(text, text, text, boolean, text, text, boolean);
DROP FUNCTION bare_number(text);
DROP FUNCTION is_one_chat(text, text, text);
