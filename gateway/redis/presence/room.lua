-- First part of scripts about a room with presence: its keys, and whether they are consistent.
-- KEYS[1] members, a sorted set. KEYS[2] connections by user, a hash; an anonymous connection is a user of its own. KEYS[3] a
-- note on whether the second was counted from the first:
--   '<members> <users>'        sizes after the last write. Other sizes now: a recount is needed
--   'again'                    a write was aborted: a recount is needed, and a join or leave may be missing
--   '<users before> <up to>'   a recount is in progress: users before it, or -1 if a join or leave may be missing since;
--                              and the last counted member, for ZRANGEBYLEX
-- A member is four lines: connection, life, user as JSON text ('': anonymous), info as JSON text ('': none).
local members, users, counted = KEYS[1], KEYS[2], KEYS[3]

local there = {}
for index, command in ipairs({ 'ZCARD', 'HLEN', 'GET' }) do
  there[index] = redis.pcall(command, KEYS[index])
  local refusal = type(there[index]) == 'table' and there[index].err
  if refusal and string.find(refusal, 'WRONGTYPE', 1, true) then
    return redis.error_reply('WRONGTYPE ' .. KEYS[index] .. ' is of another type than Roomcast gives it')
  elseif refusal then
    return there[index]
  end
end
local size, userCount, note = there[1], there[2], there[3] or ''
local usersBefore, upTo = string.match(note, '^(%-?%d+) ([-(].*)$')
usersBefore = tonumber(usersBefore)
local isConsistent = note == size .. ' ' .. userCount or note == '' and size == 0 and userCount == 0
-- Behind every member: the recount is finished, but the notice that a join or leave may be missing was not published.
local theEnd = '(\255'
