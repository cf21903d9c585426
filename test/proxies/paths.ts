/** Spellings of what a load balancer must not pass: neighbours of the public paths, and everything on the admin port. */

export const refusedPaths = [
  ...['/', '/api', '/api/', '/api/openapi.json', '/api/broadcast', '/api/rooms/a/messages', '/metrics', '/readyz'],
  ...['//api/openapi.json', '/%61pi/openapi.json', '/API/openapi.json', '/./api/openapi.json', '/METRICS', '//metrics'],
  ...['/ws/../api/openapi.json', '/ws/%2e%2e/api/openapi.json', '/ws/..%2fapi/openapi.json', '/healthz/../metrics'],
  ...['/healthz/..;/api/openapi.json', '/ws/api/openapi.json', '/ws//api/openapi.json', '/healthz%2f..%2fapi'],
  ...['/healthz\\..\\api/openapi.json', '/%2561pi/openapi.json', '/%2Fapi/openapi.json', '/metrics/../healthz'],
  ...['/HEALTHZ', '/healthz/', '//healthz', '/./healthz', '/%68ealthz', '/healthz%00', '/healthz;x', '/healthzz'],
  ...['http://localhost/api/openapi.json', 'http://localhost//api/openapi.json', 'http://localhost/ws/../api'],
  ...['http://localhost:8081/metrics', 'HTTP://LOCALHOST/api/openapi.json', '*'],
  ...['/rooms', '/rooms/', '/rooms/a', '/rooms/a/', '/rooms//events', '/rooms/a/b/events', '/rooms/a/events/'],
  ...['/rooms/a/eventsx', '/rooms/a/event', '/xrooms/a/events', '//rooms/a/events', '/./rooms/a/events'],
  ...['/rooms/a/%65vents', '/%72ooms/a/events', '/ROOMS/a/events', '/rooms/a/EVENTS', '/rooms/a/events;x'],
  ...['/rooms/a/events%00', '/rooms/a/history', '/rooms/a/members', '/rooms/a/events/../../../metrics'],
  ...['/rooms/a/events%2f..%2f..%2fmetrics', 'http://localhost/rooms/a/history'],
];

export const handshakePaths = [
  ...['/', '/ws/', '/wss', '/WS', '//ws', '/./ws', '/ws/../ws', '/%77s', '/ws%00', '/a/../ws', '/ws;x', '/ws%3f'],
  ...['/metrics', '/api', '/api/stats', '/readyz'],
  ...['/connection', '/connection/', '/connection/websocket/', '/connection/websocketx', '/connection/ssex'],
  ...['/emulation/', '/emulationx', '/x/emulation', '//emulation', '/connection/http_stream/', '/connection/%73se'],
];
