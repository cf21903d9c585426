-- Behind outbox/tell.lua and room.lua: adds and removes members of one node. Announces on the room's channel which users joined
-- and left, and tells the backend. One step: each is announced once, and a write of unknown outcome can be repeated.
-- KEYS[4] the outbox, if ARGV[12] is not ''.
-- ARGV[1] the channel; ARGV[2] the room; ARGV[3] the header of the envelopes.
-- ARGV[4], ARGV[5] a range for ZRANGEBYLEX, '': none. Its members are removed, unless they are among those who entered.
-- ARGV[6] remove only members of this life, '': of any; ARGV[7] scan at most so many members; ARGV[8] remove about so many
-- bytes.
-- ARGV[9] 1: if users and members disagree, recount at most ARGV[10] members; ARGV[11] lifetime of the note on that, ms.
-- ARGV[12] types of events that are told, '': none; ARGV[13] prefix of their ids; ARGV[14] events kept.
-- ARGV[15] 1: announce who joined and left, 0: only that members may be missing.
-- ARGV[16] number of those who entered; these follow, then those who left.
-- Returns the last scanned member if the range is not finished, else ''; members removed from the range; frames published;
-- 1 if there is more to recount, else 0; events that were lost, and why.
local verifies, most = ARGV[9] == '1', tonumber(ARGV[10])
local touched, order, frames, changes = {}, {}, 0, 0
local publishRefusal

local function publish(frame)
  frames = frames + 1
  local reply = redis.pcall('PUBLISH', ARGV[1], ARGV[3] .. frame)
  if type(reply) == 'table' then publishRefusal = reply end
end

-- True if `one` is behind `other` in the order of Redis, by bytes. The order of Lua depends on the locale.
local function is_behind(one, other)
  for index = 1, math.max(#one, #other) do
    local left, right = string.byte(one, index) or -1, string.byte(other, index) or -1
    if left ~= right then return left > right end
  end
  return false
end

local function is_counted(member)
  return not usersBefore or (upTo ~= '-' and not is_behind(member, string.sub(upTo, 2)))
end

-- Returns the key of the user, its number of connections now, and the lines of the member. Nothing if no node wrote it.
local function count(member, by)
  local connection, user, info = string.match(member, '^([^\n]*)\n[^\n]*\n([^\n]*)\n(.*)$')
  if not connection then return end
  local key = user ~= '' and user or connection
  local now = redis.call('HINCRBY', users, key, by)
  if now <= 0 then redis.call('HDEL', users, key) end
  return key, now, connection, user, info
end

local function shown(connection, user, info)
  if user == '' then return '{"connection":"' .. connection .. '"}' end
  return '{"user":' .. user .. (info ~= '' and ',"info":' .. info or '') .. '}'
end

local function change(member, by)
  size, changes = size + by, changes + 1
  if not is_counted(member) then return end
  local key, now, connection, user, info = count(member, by)
  if not key then return end
  if not touched[key] then
    touched[key] = { before = now - by }
    order[#order + 1] = key
  end
  touched[key].now, touched[key].text = now, shown(connection, user, info)
  if ARGV[12] ~= '' then touched[key].who = user ~= '' and '"user":' .. user or '"connection":"' .. connection .. '"' end
end

-- Those who joined, or those who left.
local function moved(joined)
  local users = {}
  for _, key in ipairs(order) do
    local user = touched[key]
    if (user.before > 0) ~= joined and (user.now > 0) == joined then users[#users + 1] = user end
  end
  return users
end

local function announce(type, joined)
  local texts = {}
  for index, user in ipairs(moved(joined)) do texts[index] = user.text end
  if #texts == 0 then return end
  publish('{"type":"' .. type .. '","room":"' .. ARGV[2] .. '","members":[' .. table.concat(texts, ',') .. ']}')
end

local function tell_all(type, joined)
  if not string.find(ARGV[12], type, 1, true) then return end
  for _, user in ipairs(moved(joined)) do
    tell(KEYS[4], ARGV[13], ARGV[14], '"type":"' .. type .. '","room":"' .. ARGV[2] .. '",' .. user.who)
  end
end

-- Recounts the next members. Returns true if the recount is finished and found a difference: then a `join` or `leave` may be
-- missing.
local function recount()
  if not usersBefore then
    -- UNLINK frees a large hash in the background. The ACL of an earlier version may lack the right.
    if type(redis.pcall('UNLINK', users)) == 'table' then redis.call('DEL', users) end
    usersBefore, upTo = note == 'again' and -1 or userCount, '-'
  end
  local found = redis.call('ZRANGEBYLEX', members, upTo, '+', 'LIMIT', 0, most)
  for _, member in ipairs(found) do
    count(member, 1)
    upTo = '(' .. member
  end
  if #found == most then return false end
  local isDoubtful = redis.call('HLEN', users) ~= usersBefore
  usersBefore, isConsistent = nil, true
  return isDoubtful
end

local stoppedAt, removed, isTold = '', 0, false

local function tell_backend()
  isTold = true
  tell_all('member.joined', true)
  tell_all('member.left', false)
end

local function run()
  local isDoubtful = verifies and not isConsistent and recount()
  local first, entered, kept = 17, tonumber(ARGV[16]), {}
  for index = first, first + entered - 1 do
    kept[ARGV[index]] = true
    if redis.call('ZADD', members, 0, ARGV[index]) == 1 then change(ARGV[index], 1) end
  end
  for index = first + entered, #ARGV do
    if redis.call('ZREM', members, ARGV[index]) == 1 then change(ARGV[index], -1) end
  end

  if ARGV[4] ~= '' then
    local mostScanned, bytesLeft = tonumber(ARGV[7]), tonumber(ARGV[8])
    local found = redis.call('ZRANGEBYLEX', members, ARGV[4], ARGV[5], 'LIMIT', 0, mostScanned)
    for index, member in ipairs(found) do
      local life = string.match(member, '^[^\n]*\n([^\n]*)\n')
      if not kept[member] and (ARGV[6] == '' or life == ARGV[6]) then
        redis.call('ZREM', members, member)
        change(member, -1)
        removed = removed + 1
        bytesLeft = bytesLeft - #member
      end
      if index == mostScanned or bytesLeft <= 0 then
        stoppedAt = member
        break
      end
    end
  end

  if not usersBefore then tell_backend() end
  if usersBefore and changes > 0 then usersBefore = -1 end
  if not usersBefore then
    if isDoubtful then publish('{"type":"recount","room":"' .. ARGV[2] .. '"}') end
    if ARGV[15] == '1' then
      announce('join', true)
      announce('leave', false)
    end
    if publishRefusal then usersBefore, upTo = -1, theEnd end
  end

  local now
  if usersBefore then now = usersBefore .. ' ' .. upTo
  elseif size == 0 then redis.call('DEL', users, counted)
  elseif isConsistent then now = size .. ' ' .. redis.call('HLEN', users)
  elseif note ~= 'again' then redis.call('DEL', counted) end
  if now and now ~= note then redis.call('SET', counted, now, 'PX', ARGV[11])
  elseif verifies then redis.call('PEXPIRE', counted, ARGV[11]) end
end

-- When Redis refuses a command (ACL), it does not undo those before.
local ok, raised = pcall(run)
if not ok then
  if changes > 0 then redis.pcall('SET', counted, 'again', 'PX', ARGV[11]) end
  if not usersBefore and not isTold then tell_backend() end
  return type(raised) == 'table' and raised or redis.error_reply('ERR ' .. tostring(raised))
end
return publishRefusal or { stoppedAt, removed, frames, usersBefore and 1 or 0, dropped, refusal }
