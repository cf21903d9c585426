-- Changes who of one node is in a room and tells the room's channel which users came and went: one step, so that each is
-- told once whoever writes, and a write of unknown outcome can be repeated.
-- ARGV[1] the channel, '' to tell nobody; ARGV[2] the room; ARGV[3] the header of its envelopes.
-- ARGV[4], ARGV[5] a range of members as ZRANGEBYLEX takes it, '' for none: whoever is in it and not in the list of those
-- who entered is taken out; ARGV[6] only those of this life, '' for all; ARGV[7], ARGV[8] at most so many are looked at,
-- and about so many bytes taken out.
-- ARGV[9] 1: where users do not add up they are counted anew, at most ARGV[10] members in one run. ARGV[11] ms to keep the
-- note on that. ARGV[12] the number of those who entered; they follow, then those who left.
-- Returns the last one looked at where the range was not done with, else ''; how many of the range were taken out; how many
-- frames were told; and 1 if there is more to count, else 0.
local looks, most = ARGV[9] == '1', tonumber(ARGV[10])
local touched, order, frames, changes = {}, {}, 0, 0
local unsaid

local function publish(frame)
  frames = frames + 1
  local reply = redis.pcall('PUBLISH', ARGV[1], ARGV[3] .. frame)
  if type(reply) == 'table' then unsaid = reply end
end

-- True if `one` comes behind `other` in the order of Redis; Lua's own order goes by the locale.
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

-- Returns the user's key, how many connections it has now, and the lines of the member; nothing for what no node wrote.
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
end

local function tell(type, came)
  local texts = {}
  for _, key in ipairs(order) do
    local user = touched[key]
    if (user.before > 0) ~= came and (user.now > 0) == came then texts[#texts + 1] = user.text end
  end
  if #texts == 0 then return end
  publish('{"type":"' .. type .. '","room":"' .. ARGV[2] .. '","members":[' .. table.concat(texts, ',') .. ']}')
end

-- Returns true if all are counted now, and it has to be told that some who came or went may not have been.
local function count_on()
  if not usersBefore then
    -- It frees a large hash in the background; an ACL of an earlier version does not know it.
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
  usersBefore, addsUp = nil, true
  return isDoubtful
end

local stoppedAt, takenOut = '', 0

local function run()
  local isDoubtful = looks and not addsUp and count_on()
  local first, entered, kept = 13, tonumber(ARGV[12]), {}
  for index = first, first + entered - 1 do
    kept[ARGV[index]] = true
    if redis.call('ZADD', members, 0, ARGV[index]) == 1 then change(ARGV[index], 1) end
  end
  for index = first + entered, #ARGV do
    if redis.call('ZREM', members, ARGV[index]) == 1 then change(ARGV[index], -1) end
  end

  if ARGV[4] ~= '' then
    local mostLookedAt, bytesLeft = tonumber(ARGV[7]), tonumber(ARGV[8])
    local found = redis.call('ZRANGEBYLEX', members, ARGV[4], ARGV[5], 'LIMIT', 0, mostLookedAt)
    for index, member in ipairs(found) do
      local life = string.match(member, '^[^\n]*\n([^\n]*)\n')
      if not kept[member] and (ARGV[6] == '' or life == ARGV[6]) then
        redis.call('ZREM', members, member)
        change(member, -1)
        takenOut = takenOut + 1
        bytesLeft = bytesLeft - #member
      end
      if index == mostLookedAt or bytesLeft <= 0 then
        stoppedAt = member
        break
      end
    end
  end

  if usersBefore and changes > 0 then usersBefore = -1 end
  if ARGV[1] ~= '' and not usersBefore then
    if isDoubtful then publish('{"type":"recount","room":"' .. ARGV[2] .. '"}') end
    tell('join', true)
    tell('leave', false)
    if unsaid then usersBefore, upTo = -1, theEnd end
  end

  local now
  if usersBefore then now = usersBefore .. ' ' .. upTo
  elseif size == 0 then redis.call('DEL', users, counted)
  elseif addsUp then now = size .. ' ' .. redis.call('HLEN', users)
  elseif note ~= 'again' then redis.call('DEL', counted) end
  if now and now ~= note then redis.call('SET', counted, now, 'PX', ARGV[11])
  elseif looks then redis.call('PEXPIRE', counted, ARGV[11]) end
end

-- Redis undoes nothing when it refuses a command in the middle: a right that was taken away, say.
local ok, refusal = pcall(run)
if not ok then
  if changes > 0 then redis.pcall('SET', counted, 'again', 'PX', ARGV[11]) end
  return type(refusal) == 'table' and refusal or redis.error_reply('ERR ' .. tostring(refusal))
end
return unsaid or { stoppedAt, takenOut, frames, usersBefore and 1 or 0 }
