"""The control room, the operators' page: `page.py` serves the other files, which run in the browser.

One module for each page (`page_*.js`), and a few that they share: `app.js` (sign-in, router, shell), `api.js` (client),
`live.js` (stream of health), `dom.js` (elements), `table.js`, `chart.js`, `dialog.js`, `words.js` (what states are
called and look like), `company.js` (choice of a company).
"""
