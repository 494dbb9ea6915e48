// What the scenario programs in JavaScript share. Each one prints `version …`, then `ok GROUP` or `fail GROUP: why` for
// each group, and `restart` where the server shall be restarted, which is done when a line comes back.
'use strict';
const readline = require('readline');

const [host, port, protocol, P] = process.argv.slice(2);
const GROUP_TIMEOUT_MS = 30000;
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

// Calls it a little later, so that somebody else blocks first.
function soon(call) {
  return new Promise((resolve) => setTimeout(resolve, 50)).then(call);
}

function restart() {
  console.log('restart');
  return lines.next();
}

// Waits until an array has so many elements.
async function collect(heard, n) {
  const deadline = Date.now() + 20000;
  while (heard.length < n) {
    if (Date.now() > deadline) throw new Error(`${heard.length} of ${n}: ${JSON.stringify(heard)}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function run(version, groups, open, close) {
  console.log(`version ${version}`);
  for (const [name, group] of Object.entries(groups)) {
    let client;
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error('it did not end')), GROUP_TIMEOUT_MS);
    });
    try {
      await Promise.race([late, (async () => group((client = await open())))()]);
      console.log(`ok ${name}`);
    } catch (error) {
      const at = String(error.stack).split('\n').find((line) => line.includes(process.argv[1])) || '';
      console.log(`fail ${name}: ${`${error.message} ${at}`.replace(/\s+/g, ' ').slice(0, 600)}`);
    }
    clearTimeout(timer);
    if (client) close(client);
  }
  process.exit(0);
}

// The tag makes keys share a slot.
module.exports = { host, port: Number(port), protocol: Number(protocol), P, T: `{${P}}`, soon, restart, collect, run };
