"""Operations that read what was written: chats, searches, people and figures."""
