// How the gateway serves the page: compressed where it was built, cached by content.

import { get, type IncomingHttpHeaders } from 'node:http';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { Gateway, standIn } from './gateway';
import { expect, test } from './test';

interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

/** Without a browser, which would decompress and cache by itself. */
function ask(url: string, headers: Record<string, string>): Promise<Answer> {
  return new Promise((done, failed) => {
    get(url, { headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () =>
        done({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(chunks),
        }),
      );
    }).on('error', failed);
  });
}

test('files come compressed as asked for, those named by their content for ever', {
  tag: '@core',
}, async () => {
  test.skip(standIn(), 'it is the gateway that serves');
  const gateway = await Gateway.start({ assets: 10, fleets: 1 });
  try {
    const page = await ask(gateway.url, {});
    const tag = String(page.headers.etag);
    expect(page.headers['cache-control']).toBe('no-cache');
    expect(page.headers['content-encoding']).toBeUndefined();
    const again = await ask(gateway.url, { 'if-none-match': tag });
    expect([again.status, again.body.length, again.headers.etag]).toEqual([304, 0, tag]);
    expect((await ask(gateway.url, { 'if-none-match': '"other"' })).status).toBe(200);

    const script = /assets\/index-[^"]+\.js/.exec(page.body.toString())![0];
    const plain = await ask(gateway.url + script, {});
    const gzip = await ask(gateway.url + script, { 'accept-encoding': 'gzip, deflate' });
    const brotli = await ask(gateway.url + script, { 'accept-encoding': 'gzip, deflate, br' });
    for (const { headers } of [plain, gzip, brotli]) {
      expect(headers['cache-control']).toBe('public, max-age=31536000, immutable');
      expect(headers['content-type']).toBe('text/javascript; charset=utf-8');
      expect(headers.vary).toBe('accept-encoding');
    }
    expect(gzip.headers['content-encoding']).toBe('gzip');
    expect(brotli.headers['content-encoding']).toBe('br');
    expect(gunzipSync(gzip.body).equals(plain.body)).toBe(true);
    expect(brotliDecompressSync(brotli.body).equals(plain.body)).toBe(true);
    expect(brotli.body.length).toBeLessThan(plain.body.length / 2);
    expect(brotli.headers.etag).not.toBe(plain.headers.etag);
  } finally {
    await gateway.stop();
  }
});
