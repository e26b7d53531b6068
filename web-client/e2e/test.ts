// The test function of every browser test: a page that complains fails, whatever else it shows.
// Invariant: every page of the test's context is listened to, from before its first script.

import { type BrowserContext, test as base, expect } from '@playwright/test';

interface Options {
  /** What the pages may complain of, because the test brings it about. One pattern: a list would be a fixture's tuple. */
  allowed: RegExp | null;
}

/** While the gateway is away the browser itself says that requests fail. */
export const OUTAGE = /net::ERR_|^WebSocket connection to .* failed/;

export const test = base.extend<Options & { complaints: undefined }>({
  allowed: [null, { option: true }],
  complaints: [
    async ({ context, allowed }, use) => {
      const complaints = await listen(context);
      await use(undefined);
      const unexpected = complaints.filter((complaint) => !allowed?.test(complaint));
      expect(unexpected, 'errors on the console, or against the content policy').toEqual([]);
    },
    { auto: true },
  ],
});

async function listen(context: BrowserContext): Promise<string[]> {
  const complaints: string[] = [];
  await context.exposeFunction('__violated', (text: string) => complaints.push(text));
  await context.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => {
      // biome-ignore lint/suspicious/noExplicitAny: exposed above
      (globalThis as any).__violated(`policy: ${event.effectiveDirective} ${event.blockedURI}`);
    });
  });
  context.on('page', (page) => {
    page.on('pageerror', (error) => complaints.push(error.message));
  });
  // Workers' messages, and what the browser says by itself, too.
  context.on('console', (message) => {
    if (message.type() === 'error') complaints.push(message.text());
  });
  return complaints;
}

export { expect } from '@playwright/test';
