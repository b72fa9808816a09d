"""What a developer does with the client that openapi-python-client generates; checked by mypy before it runs.

Arguments: the installation's address, a key, a chat, the application's address. Standard output: results as JSON.
"""

import io
import json
import sys

from generated_client import AuthenticatedClient
from generated_client.api.media import upload_file
from generated_client.api.messages import list_chat_messages, send_image, send_message, send_text
from generated_client.api.webhooks import add_hook, test_hook
from generated_client.models import (
    AcceptedMessage,
    AddHook,
    ChatPage,
    HookTest,
    NewHook,
    Problem,
    SendImage,
    SendMessageLocation,
    SendText,
    StoredFile,
    UploadFileForm,
)
from generated_client.types import File
from httpx import Timeout

url, key, chat, application = sys.argv[1:]
client = AuthenticatedClient(base_url=url, token=key, timeout=Timeout(60))

text = send_text.sync("demo", chat, client=client, body=SendText(message="generated"), prefer="wait=30")
assert isinstance(text, AcceptedMessage), text

image = send_image.sync("demo", chat, client=client, body=SendImage(url=f"{application}/picture.png"), prefer="wait=30")
assert isinstance(image, AcceptedMessage), image

pdf = File(payload=io.BytesIO(b"%PDF-1.4\n%%EOF\n"), file_name="a.pdf", mime_type="application/pdf")
stored = upload_file.sync("demo", client=client, body=UploadFileForm(file=pdf))
assert isinstance(stored, StoredFile), stored

place = SendMessageLocation(type_="location", latitude=52.5, longitude=13.4)
typed = send_message.sync("demo", chat, client=client, body=place, prefer="wait=30")
assert isinstance(typed, AcceptedMessage), typed

page = list_chat_messages.sync("demo", chat, client=client, limit=10)
assert isinstance(page, ChatPage), page

refused = send_text.sync("demo", chat, client=client, body=SendText(message=""))
assert isinstance(refused, Problem), refused

hook = add_hook.sync("demo", client=client, body=AddHook(url=f"{application}/hook", types=["hook.test"]))
assert isinstance(hook, NewHook), hook
tested = test_hook.sync("demo", hook.id, client=client)
assert isinstance(tested, HookTest), tested

json.dump(
    {
        "statuses": [text.status, image.status, typed.status],
        "mimetype": stored.mimetype,
        "listed": [message.type_ for message in page.messages],
        "refused": refused.type_,
        "hook": hook.id,
        "secret": hook.secret,
        "event": tested.event_id,
    },
    sys.stdout,
)
