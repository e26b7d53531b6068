// The same map, fed by Kafka.

import { Gateway, standIn } from './gateway';
import { Broker, hasBroker } from './kafka';
import { expectAssets, litAssets, openLive } from './page';
import { expect, OUTAGE, test } from './test';

test.use({ allowed: OUTAGE });

test('vehicles that report to Kafka move on the map, also after the gateway was killed', async ({
  page,
}) => {
  test.skip(standIn(), 'the stand-in reads no Kafka');
  test.skip(!hasBroker(), 'no broker: the Rust tests fetch it');
  test.setTimeout(180_000);
  const broker = await Broker.start();
  const topic = await broker.topic('telemetry');
  const gateway = await Gateway.start({ kafka: { brokers: broker.brokers, topic } });
  try {
    await openLive(page, `${gateway.url}?at=48.1,11.5,7`);
    await expect(page.getByTestId('state-empty')).toContainText('No assets here yet');
    await broker.drive(topic, 600);
    await expectAssets(page, 600);
    await expect(async () => {
      const { onScreen, lit } = await litAssets(page);
      expect(onScreen).toBe(600);
      expect(lit).toBe(600);
    }).toPass();
    await page.getByTestId('scope').click();
    await expect(page.getByTestId('fleet-picker').getByText(/^depot-/)).toHaveCount(4);
    await page.keyboard.press('Escape');

    await broker.send(topic, ['no JSON at all']);
    await gateway.kill();
    await expect(page.getByTestId('banner-reconnecting')).toBeVisible();
    await gateway.restart();
    await expect(page.getByTestId('connection')).toContainText('Live');
    await expectAssets(page, 600);
    await expect(page.locator('.pill-facts')).toContainText(/[3-9]\d\d updates\/s/);

    await page.goto(`${gateway.url}ops`);
    await expect(page.getByRole('figure').filter({ hasText: 'Kafka lag' })).toContainText(/lag \d/);
  } finally {
    await gateway.stop();
    await broker.stop();
  }
});
