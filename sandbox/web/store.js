// What a browser profile keeps: who it is, what it is linked to, and the messages. IndexedDB, written through before
// any event is emitted.

// a transaction completes only when its data is on disk: browsers are killed here on purpose
const STRICT = { durability: "strict" };

function settled(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function completed(transaction) {
  return new Promise((resolve, reject) => {
    // the request's success is not enough: the transaction may still be aborted
    transaction.oncomplete = () => resolve();
    transaction.onabort = transaction.onerror = () => reject(transaction.error);
  });
}

export async function openStore() {
  const opening = indexedDB.open("web-sandbox", 2);
  opening.onupgradeneeded = () => {
    // profiles of earlier versions have some of the tables already
    const have = opening.result.objectStoreNames;
    if (!have.contains("profile")) opening.result.createObjectStore("profile");
    if (!have.contains("messages")) opening.result.createObjectStore("messages", { keyPath: "id" });
    if (!have.contains("files")) opening.result.createObjectStore("files");
  };
  const database = await settled(opening);

  async function write(table, change) {
    const transaction = database.transaction(table, "readwrite", STRICT);
    change(transaction.objectStore(table));
    await completed(transaction);
  }

  return {
    read: (key) => settled(database.transaction("profile").objectStore("profile").get(key)),
    keep: (key, value) => write("profile", (table) => table.put(value, key)),
    messages: () => settled(database.transaction("messages").objectStore("messages").getAll()),
    keepMessages: (rows) => write("messages", (table) => rows.forEach((row) => table.put(row))),
    keepFile: (filehash, file) => write("files", (table) => table.put(file, filehash)),
    file: (filehash) => settled(database.transaction("files").objectStore("files").get(filehash)),
    dropFile: (filehash) => write("files", (table) => table.delete(filehash)),
    dropMessage: (id) => write("messages", (table) => table.delete(id)),
    async forgetLink() {
      await write("profile", (table) => table.delete("link"));
      await write("messages", (table) => table.clear());
      await write("files", (table) => table.clear());
    },
  };
}
