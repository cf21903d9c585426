/** Tokens that were verified lately. */
import { expect, test, vi } from 'vitest';
import { VerifiedTokens } from '../../../gateway/auth/verified-tokens.ts';

interface Verified {
  user: string;
  expiresAt: number;
}

const inAnHour = () => Date.now() + 3_600_000;

/** Verifications by the test's hand. */
class Verifier {
  readonly asked: string[] = [];
  readonly settle = new Map<string, { resolve(expiresAt?: number): void; reject(error: Error): void }>();
  keys: unknown = 'first';
  readonly tokens = new VerifiedTokens<Verified>(
    (token) => {
      this.asked.push(token);
      return new Promise((resolve, reject) => {
        this.settle.set(token, { resolve: (at = inAnHour()) => resolve({ user: token, expiresAt: at }), reject });
      });
    },
    () => this.keys,
  );

  /** Verifies a token to its end. */
  async verify(token: string, expiresAt?: number): Promise<Verified> {
    const result = this.tokens.of(token);
    this.settle.get(token)?.resolve(expiresAt);
    return result;
  }
}

test('a token is verified once, however often and by however many at once it is shown', async () => {
  const { tokens, asked, settle } = new Verifier();
  const first = [tokens.of('a'), tokens.of('a'), tokens.of('a')];
  settle.get('a')?.resolve();
  const [one] = await Promise.all(first);
  expect(await Promise.all(first)).toEqual([one, one, one]);
  expect(tokens.of('a')).toBe(one);
  expect(asked).toEqual(['a']);
});

test('a token that differs in one character is another one', async () => {
  const verifier = new Verifier();
  await verifier.verify('header.claims.signature');
  await verifier.verify('header.claims.signaturf');
  expect(verifier.asked).toEqual(['header.claims.signature', 'header.claims.signaturf']);
});

test('a token is verified again when it has expired', async () => {
  const verifier = new Verifier();
  await verifier.verify('a', Date.now() + 60_000);
  const now = vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 60_000);
  verifier.tokens.of('a');
  now.mockRestore();
  expect(verifier.asked).toEqual(['a', 'a']);
});

test('a token is verified again when the keys have changed, also if they changed while it was verified', async () => {
  const verifier = new Verifier();
  await verifier.verify('a');
  const late = verifier.tokens.of('b');
  verifier.keys = 'second';
  verifier.settle.get('b')?.resolve();
  await late;
  verifier.tokens.of('a');
  verifier.tokens.of('b');
  expect(verifier.asked).toEqual(['a', 'b', 'a', 'b']);
});

test('a refused token is verified each time', async () => {
  const { tokens, asked, settle } = new Verifier();
  for (let times = 0; times < 2; times++) {
    const refused = tokens.of('bad');
    settle.get('bad')?.reject(new Error('no'));
    await expect(refused).rejects.toThrow('no');
  }
  expect(asked).toEqual(['bad', 'bad']);
});

test('of 30,000 tokens the last 10,000 are known, and no more than 20,000', () => {
  const asked = new Set<string>();
  const verify = (token: string) => {
    asked.add(token);
    return { user: token, expiresAt: inAnHour() };
  };
  const tokens = new VerifiedTokens<Verified>(verify, () => undefined);
  for (let index = 0; index < 30_000; index++) tokens.of(`token ${index}`);
  asked.clear();
  for (let index = 29_999; index >= 20_000; index--) tokens.of(`token ${index}`);
  expect(asked.size).toBe(0);
  for (let index = 0; index < 10_000; index++) tokens.of(`token ${index}`);
  expect(asked.size).toBe(10_000);
});

test('a long token is verified each time: its claims take memory', async () => {
  const verifier = new Verifier();
  const long = 'x'.repeat(1_501);
  await verifier.verify(long);
  await verifier.verify(long);
  expect(verifier.asked).toHaveLength(2);
});
