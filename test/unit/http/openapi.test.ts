/**
 * gateway/http/api/openapi.ts: the document is OpenAPI 3.1 in the judgement of a validator from npm, and says of each route
 * what the route does.
 */
import { Validator } from '@seriousme/openapi-schema-validator';
import { beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { openApiText } from '../../../gateway/http/api/openapi.ts';
import { statusesOf } from '../../../gateway/http/api/route.ts';
import { routes } from '../../../gateway/http/api/routes.ts';

interface Operation {
  operationId: string;
  security?: unknown[];
  parameters: { name: string; in: string; required: boolean; schema: Record<string, unknown> }[];
  requestBody?: { required: boolean; content: Record<string, { schema: Record<string, unknown> }> };
  responses: Record<string, { description: string; content: Record<string, { schema: object }> }>;
}

interface Document {
  openapi: string;
  info: { version: string };
  paths: Record<string, Record<string, Operation>>;
}

let document: Document;
beforeAll(() => {
  document = JSON.parse(openApiText(routes, '1.2.3')) as Document;
});

test('a validator from npm takes it as OpenAPI 3.1, and refuses it when it is broken', async () => {
  const validator = new Validator();
  expect(await validator.validate(structuredClone({ ...document }))).toEqual({ valid: true });
  expect(validator.version).toBe('3.1');
  const broken = structuredClone(document) as unknown as { paths: Record<string, object> };
  broken.paths['/api/broadcast'] = { post: { responses: [] } };
  expect(await validator.validate(broken)).toMatchObject({ valid: false });
});

test('it has exactly the routes, each with its parameters, its body and its statuses', () => {
  expect(document.info.version).toBe('1.2.3');
  const listed = Object.entries(document.paths).flatMap(([path, operations]) =>
    Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
  );
  expect(listed.sort()).toEqual(routes.map(({ method, path }) => `${method} ${path}`).sort());
  expect(new Set(routes.map(({ name }) => name)).size).toBe(routes.length);
  for (const route of routes) {
    const { operationId, parameters, requestBody, responses, security } = operationOf(route);
    expect(operationId).toBe(route.name);
    expect(security, route.name).toEqual(route.open ? [] : undefined);
    const inPath = [...route.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
    expect(parameters.filter((each) => each.in === 'path').map(({ name }) => name)).toEqual(inPath);
    expect(Object.keys(route.params.shape)).toEqual(inPath);
    expect(parameters.filter((each) => each.in === 'query').map(({ name }) => name)).toEqual(
      Object.keys(route.query.shape),
    );
    for (const each of parameters) expect(each.required).toBe(each.in === 'path');
    expect(requestBody !== undefined).toBe(route.body !== undefined);
    if (requestBody !== undefined) expect(requestBody.required).toBe(route.body?.optional !== true);
    const schema = requestBody?.content['application/json']?.schema;
    expect(Object.keys((schema?.properties as object | undefined) ?? {})).toEqual(
      Object.keys(route.body?.schema.shape ?? {}),
    );
    expect(Object.keys(responses).map(Number).sort()).toEqual(statusesOf(route).sort());
    const { $schema: _, ...answer } = z.toJSONSchema(route.answer);
    expect(responses[200]?.content['application/json']?.schema).toEqual(answer);
    expect(202 in responses, route.name).toBe('missing' in (answer.properties ?? {}));
    if (202 in responses) expect(responses[202]?.content).toEqual(responses[200]?.content);
  }
});

test('the bounds that are no part of the types are in it', () => {
  const body = document.paths['/api/broadcast']?.post?.requestBody?.content['application/json'];
  const { rooms, key, from } = (body?.schema.properties ?? {}) as Record<string, object>;
  expect(rooms).toMatchObject({ type: 'array', minItems: 1, maxItems: 1_000, items: { maxLength: 200 } });
  expect(key).toMatchObject({ type: 'string', minLength: 1, maxLength: 128 });
  expect(from).toMatchObject({ type: 'string', minLength: 1, maxLength: 200 });
  const { parameters = [] } = document.paths['/api/rooms/{room}/messages']?.get ?? {};
  const limit = parameters.find(({ name }) => name === 'limit');
  expect(limit?.schema).toMatchObject({ type: 'integer', minimum: 1, maximum: 1_000, default: 100 });
});

function operationOf({ path, method }: { path: string; method: string }): Operation {
  const operation = document.paths[path]?.[method.toLowerCase()];
  if (operation === undefined) throw new Error(`${method} ${path} is not in the document`);
  return operation;
}
