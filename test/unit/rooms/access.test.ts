/**
 * gateway/rooms/access.ts: who may do what in which room. The whole table of levels, identities and grants, the
 * absolute rules (`server`, personal rooms), and the errors that operators and issuers get.
 */
import { describe, expect, test } from 'vitest';
import { anonymous, type Identity, readGrants } from '../../../gateway/auth/grants.ts';
import { Access, type AccessLevel, type Action, type RoomRule, readRules } from '../../../gateway/rooms/access.ts';
import { personalRoom } from '../../../shared/room.ts';
import { Random } from '../random.ts';

const levels: AccessLevel[] = ['anyone', 'user', 'token', 'server'];
const actions: Action[] = ['subscribe', 'publish'];

function rulesOf(...rooms: object[]) {
  const result = readRules({ rooms });
  if ('mistakes' in result) throw new Error(result.mistakes.join('; '));
  return result.rules;
}

function mistakesOf(...rooms: unknown[]): string[] {
  const result = readRules({ rooms });
  return 'mistakes' in result ? result.mistakes : [];
}

const user = (name: string, rooms?: Record<string, string[]>): Identity => ({ user: name, grants: readGrants(rooms) });

describe('levels', () => {
  const identities = {
    anonymous,
    user: user('ann'),
    granted: user('ann', { 'chat:*': ['subscribe', 'publish'] }),
    'granted elsewhere': user('ann', { 'news:*': ['subscribe', 'publish'] }),
    'granted only history and presence': user('ann', { 'chat:*': ['history', 'presence'] }),
  };
  const allowed: Record<AccessLevel, (keyof typeof identities)[]> = {
    anyone: ['anonymous', 'user', 'granted', 'granted elsewhere', 'granted only history and presence'],
    user: ['user', 'granted', 'granted elsewhere', 'granted only history and presence'],
    token: ['granted'],
    callback: ['granted'],
    server: [],
  };
  const table = levels.flatMap((level) =>
    actions.flatMap((action) => Object.keys(identities).map((name) => ({ level, action, name }))),
  );

  test.each(table)('rule $level, $action: $name', ({ level, action, name }) => {
    const access = new Access(rulesOf({ match: 'chat:*', [action]: level }));
    const identity = identities[name as keyof typeof identities];
    const otherwise = level === 'callback' ? 'ask' : 'refused';
    const isAllowed = allowed[level].includes(name as keyof typeof identities);
    expect(access.decide(identity, action, 'chat:1')).toBe(isAllowed ? 'allowed' : otherwise);
  });
});

test('without a rule and without a grant nothing is allowed', () => {
  for (const action of actions) {
    for (const identity of [anonymous, user('ann'), user('ann', {})]) {
      expect(new Access([]).decide(identity, action, 'chat:1')).toBe('refused');
    }
  }
});

test('a grant holds for its own actions and its own rooms, and grants of several patterns add up', () => {
  const ann = user('ann', { 'chat:*': ['subscribe'], 'chat:1': ['publish'], news: ['subscribe'] });
  const access = new Access([]);
  const may = (action: Action, room: string) => access.decide(ann, action, room) === 'allowed';
  expect([may('subscribe', 'chat:1'), may('publish', 'chat:1')]).toEqual([true, true]);
  expect([may('subscribe', 'chat:2'), may('publish', 'chat:2')]).toEqual([true, false]);
  expect([may('subscribe', 'news'), may('publish', 'news')]).toEqual([true, false]);
  expect([may('subscribe', 'news:1'), may('publish', 'other')]).toEqual([false, false]);
});

test('the level of one action does not affect the other action', () => {
  const access = new Access(rulesOf({ match: 'ticker:*', subscribe: 'anyone' }));
  expect(access.decide(anonymous, 'subscribe', 'ticker:1')).toBe('allowed');
  expect(access.decide(user('ann'), 'publish', 'ticker:1')).toBe('refused');
});

test('the first matching rule wins, even if a later one allows more', () => {
  const access = new Access(
    rulesOf(
      { match: 'chat:staff', slow: 'close' },
      { match: 'chat:*', subscribe: 'anyone' },
      { match: '*', slow: 'close' },
    ),
  );
  expect(access.decide(anonymous, 'subscribe', 'chat:staff')).toBe('refused');
  expect(access.decide(anonymous, 'subscribe', 'chat:lobby')).toBe('allowed');
  expect(access.rule('chat:staff').slow).toBe('close');
  expect(access.rule('chat:lobby').slow).toBe('drop');
  expect(access.rule('elsewhere')).toMatchObject({ match: '*', slow: 'close', subscribe: 'token', publish: 'token' });
});

test('a room keeps its rule, whatever number of other rooms is asked for in between', () => {
  const access = new Access(rulesOf({ match: 'chat:*', slow: 'close' }, { match: '*', slow: 'latest' }));
  const rules = new Set<string>();
  for (const _ of [1, 2]) {
    for (let room = 0; room < 30_000; room++) {
      rules.add(`${access.rule(`chat:${room}`).slow} ${access.rule(`${room}`).slow}`);
    }
  }
  expect([...rules]).toEqual(['close latest']);
});

test('the rule of a room in use is looked up once, however many other rooms are asked for in between', () => {
  let lookups = 0;
  const [rule] = rulesOf({ match: 'hot' });
  const counted = {
    ...rule,
    get match() {
      lookups++;
      return 'hot';
    },
  } as RoomRule;
  const access = new Access([counted]);
  const others = 50_000;
  for (let other = 0; other < others; other++) {
    access.rule(`other:${other}`);
    if (other % 1_000 === 0) access.rule('hot');
  }
  expect(lookups).toBe(others + 1);
  access.rule('other:0');
  expect(lookups, 'one that nobody has asked for since is forgotten').toBe(others + 2);
});

describe('personal rooms', () => {
  const open = { match: '*', subscribe: 'anyone', publish: 'anyone' };
  const openPersonal = { match: '@*', subscribe: 'anyone', publish: 'anyone' };

  test.each(['ann', 'a b', 'é', '50%', 'a/..'])('the user %j subscribes to its own one without any rule', (name) => {
    expect(new Access([]).decide(user(name), 'subscribe', personalRoom(name))).toBe('allowed');
  });

  test('no other user can subscribe and no client can publish, whatever rules and grants say', () => {
    const access = new Access(rulesOf(openPersonal, open));
    const grants = { '@*': ['subscribe', 'publish'], '@ann': ['subscribe', 'publish'] };
    for (const identity of [anonymous, user('bob'), user('bob', grants), user('Ann', grants)]) {
      expect(access.decide(identity, 'subscribe', '@ann')).toBe('refused');
      expect(access.decide(identity, 'publish', '@ann')).toBe('refused');
    }
    expect(access.decide(user('ann', grants), 'publish', '@ann')).toBe('refused');
    expect(access.decide(user('ann'), 'subscribe', '@ann')).toBe('allowed');
    expect(access.decide(anonymous, 'subscribe', '@')).toBe('refused');
    expect(access.decide(user('ann', grants), 'subscribe', '@ann/sub')).toBe('refused');
  });

  test('an encoded name gives no access', () => {
    expect(new Access([]).decide(user('a b'), 'subscribe', '@a b')).toBe('refused');
    expect(new Access([]).decide(user('ann'), 'subscribe', '@%61nn')).toBe('refused');
    expect(new Access([]).decide(user('%61nn'), 'subscribe', '@ann')).toBe('refused');
  });
});

describe('a rooms file', () => {
  test('has defaults: only by token, slow readers are dropped', () => {
    const byToken = { match: 'a:*', subscribe: 'token', publish: 'token', presence: false, joinLeave: false };
    expect(rulesOf({ match: 'a:*' })).toEqual([{ ...byToken, slow: 'drop', history: undefined }]);
    expect(rulesOf()).toEqual([]);
  });

  test('with history has bounds by default, and lets slow readers catch up', () => {
    const history = { size: 100, maxBytes: 4_194_304, ttlSeconds: 86_400 };
    expect(rulesOf({ match: 'a:*', history: {} })).toMatchObject([{ history, slow: 'catch-up' }]);
    expect(rulesOf({ match: 'a:*', history: { size: 7 }, slow: 'latest' })).toMatchObject([
      { history: { ...history, size: 7 }, slow: 'latest' },
    ]);
  });

  test.each([
    ['a history of no messages', { history: { size: 0 } }, /history\.size: must be a whole number from 1 to 100000/],
    ['half a message', { history: { size: 1.5 } }, /history\.size: must be a whole number/],
    ['too many bytes', { history: { maxBytes: 2 ** 31 } }, /history\.maxBytes: must be a whole number from 1024 to/],
    ['a time of the wrong type', { history: { ttlSeconds: '1 day' } }, /history\.ttlSeconds: must be a whole number/],
    ['an unknown field of history', { history: { ttl: 60 } }, /rooms\.0\.history.*ttl/],
    ['presence of the wrong type', { presence: 'yes' }, /rooms\.0\.presence/],
    ['catch-up without history', { slow: 'catch-up' }, /rooms\.0\.slow: "catch-up" needs history/],
    ['another slow rule', { slow: 'quick' }, /must be "catch-up", "drop", "latest" or "close"/],
    ['an unknown field', { subscirbe: 'user' }, /subscirbe/],
    ['an unknown level', { subscribe: 'everyone' }, /rooms\.0\.subscribe/],
    ['a level of the wrong type', { publish: true }, /rooms\.0\.publish/],
  ])('with %s is a mistake that says so', (_, fields, message) => {
    const mistakes = mistakesOf({ match: 'a', ...fields });
    expect(mistakes).toHaveLength(1);
    expect(mistakes[0]).toMatch(message);
  });

  test.each([[''], ['a b'], ['*****'], ['a'.repeat(201)], [undefined], [5]])('refuses the pattern %j', (match) => {
    expect(mistakesOf({ match })).toEqual([expect.stringMatching(/^rooms\.0\.match: /)]);
  });

  test('reports all mistakes at once, each with its place', () => {
    const mistakes = mistakesOf({ match: 'a', presence: 1 }, { match: 'b' }, { match: 'c d', slow: 'last' });
    expect(mistakes.map((mistake) => mistake.split(':')[0])).toEqual([
      'rooms.0.presence',
      'rooms.2.match',
      'rooms.2.slow',
    ]);
  });

  test.each([[null], [[]], [{}], [{ rooms: {} }], [{ rooms: [], extra: 1 }], [{ rooms: [null] }]])(
    'refuses %j',
    (json) => {
      expect(readRules(json)).toHaveProperty('mistakes');
    },
  );

  test('holds at most 1,000 rules', () => {
    const rules = (count: number) => Array.from({ length: count }, (_, index) => ({ match: `r${index}` }));
    expect(readRules({ rooms: rules(1000) })).toHaveProperty('rules');
    expect(readRules({ rooms: rules(1001) })).toHaveProperty('mistakes');
  });
});

describe('the rooms claim', () => {
  const patterns = (count: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, n) => [`r${n}`, ['publish']]));

  test('holds up to 64 patterns of up to four stars', () => {
    expect(readGrants(patterns(64))).toHaveLength(64);
    expect(() => readGrants(patterns(65))).toThrow(/more than 64 patterns/);
    expect(readGrants({ '*a*b*c*': ['subscribe'] })).toHaveLength(1);
    expect(() => readGrants({ '*a*b*c*d*': ['subscribe'] })).toThrow(
      /rooms claim is not valid: \*a\*b\*c\*d\*: is not a room pattern/,
    );
  });

  test.each([
    [''],
    [false],
    [[[]]],
    ['chat:*'],
    [['chat:*']],
    [5],
    [{ 'chat:*': 'subscribe' }],
    [{ 'chat:*': ['write'] }],
    [{ 'chat:*': [null] }],
    [{ 'chat:*': { subscribe: true } }],
    [{ 'a b': ['subscribe'] }],
    [{ '': ['subscribe'] }],
    [{ 'chat:*': ['subscribe', 'subscribe', 'publish', 'publish', 'history'] }],
  ])('%j is a TypeError, not a grant', (claim) => {
    expect(() => readGrants(claim)).toThrow(TypeError);
  });

  test('absent or empty, it grants nothing', () => {
    expect(readGrants(undefined)).toEqual([]);
    expect(readGrants({})).toEqual([]);
    expect(readGrants(null)).toEqual([]);
    expect(readGrants([])).toEqual([]);
    expect(new Access([]).decide({ user: 'ann', grants: readGrants({ '*': [] }) }, 'subscribe', 'r')).toBe('refused');
  });

  test('a pattern with the name of a prototype grants no more than its room', () => {
    const grants = readGrants(JSON.parse('{"constructor":["subscribe"],"__proto__":["subscribe","publish"]}'));
    const ann = { user: 'ann', grants };
    expect(new Access([]).decide(ann, 'subscribe', 'constructor')).toBe('allowed');
    expect(new Access([]).decide(ann, 'publish', 'constructor')).toBe('refused');
    expect(new Access([]).decide(ann, 'subscribe', 'toString')).toBe('refused');
    expect(({} as Record<string, unknown>).subscribe).toBeUndefined();
  });
});

test('random rules and grants never open a server room, nor a personal one to anybody else', () => {
  const random = new Random(20);
  const patterns = ['*', 'a*', '*a', '@*', '@ann', 'secret*', '*e*'];
  for (let round = 0; round < 500; round++) {
    const more = Array.from({ length: random.integer(0, 4) }, () => ({
      match: random.pick(patterns),
      subscribe: random.pick(levels),
      publish: random.pick(levels),
    }));
    const access = new Access(rulesOf({ match: 'secret:*', subscribe: 'server', publish: 'server' }, ...more));
    const grants = Object.fromEntries(patterns.map((pattern) => [pattern, ['subscribe', 'publish']]));
    const bob = random.pick([anonymous, user('bob'), user('bob', grants)]);
    for (const action of actions) {
      expect(access.decide(bob, action, 'secret:1')).toBe('refused');
      expect(access.decide(bob, action, '@ann')).toBe('refused');
    }
  }
});

describe('reading history and presence', () => {
  const access = new Access(
    rulesOf(
      { match: 'kept:server', subscribe: 'server', history: {}, presence: true },
      { match: 'kept:*', history: {}, presence: true },
      { match: '@*', history: {}, presence: true },
      { match: 'plain:*', joinLeave: true },
    ),
  );
  const granted = user('ann', { '*': ['history', 'presence'], '@*': ['history', 'presence'] });
  const read = (identity: Identity, room: string, isMember: boolean) =>
    (['history', 'presence'] as const).map((what) => access.allowsReading(identity, what, room, isMember));

  test('needs a rule that turns it on, and membership or a grant of that name', () => {
    expect(read(user('ann'), 'kept:1', true)).toEqual([true, true]);
    expect(read(user('ann'), 'kept:1', false)).toEqual([false, false]);
    expect(read(granted, 'kept:1', false)).toEqual([true, true]);
    expect(read(user('ann', { 'kept:*': ['history'] }), 'kept:1', false)).toEqual([true, false]);
    expect(read(user('ann', { '*': ['subscribe', 'publish'] }), 'kept:1', false)).toEqual([false, false]);
    expect(read(granted, 'plain:1', true)).toEqual([false, false]);
    expect(read(granted, 'elsewhere', true)).toEqual([false, false]);
  });

  test('of server rooms and personal rooms cannot be granted', () => {
    expect(read(granted, 'kept:server', false)).toEqual([false, false]);
    expect(read(granted, '@bob', false)).toEqual([false, false]);
    expect(read(user('bob'), '@bob', true)).toEqual([true, true]);
  });
});
