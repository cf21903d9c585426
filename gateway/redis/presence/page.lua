-- A page of a room's members, and the number of all, of one moment.
-- ARGV[1] the first member, for ZRANGEBYLEX; ARGV[2] members at most; ARGV[3] bytes at most, but one member in any case;
-- ARGV[4] overhead of a member, bytes; ARGV[5] members that one run recounts.
-- Returns members, users, 1 if there are more behind the page, and the page. Or nothing if a recount has to be finished
-- first: one is in progress, or one is needed that takes one run.
if usersBefore and upTo ~= theEnd then return {} end
if not usersBefore and not isConsistent and size <= tonumber(ARGV[5]) then return {} end
local limit, bytesLeft = tonumber(ARGV[2]), tonumber(ARGV[3])
local found = redis.call('ZRANGEBYLEX', members, ARGV[1], '+', 'LIMIT', 0, limit + 1)
local page = {}
for index, member in ipairs(found) do
  bytesLeft = bytesLeft - #member - ARGV[4]
  if index > limit or (index > 1 and bytesLeft < 0) then
    break
  end
  page[index] = member
end
return { size, userCount, #page < #found and 1 or 0, page }
