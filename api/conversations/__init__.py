"""Operations on conversations: who answers in a chat, the assistant or a human."""
