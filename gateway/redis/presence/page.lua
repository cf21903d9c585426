-- A page of a room's members with the number of all, as of one moment.
-- ARGV[1] where to begin, as ZRANGEBYLEX takes it; ARGV[2] and ARGV[3] at most so many members and, but for the first, so
-- many bytes; ARGV[4] bytes to add for each; ARGV[5] how many members may be counted at once.
-- Returns the number of members and of users, 1 if there are more behind the page, and the page. Or nothing: users are being
-- counted anew, or have to be and are few.
if usersBefore and upTo ~= theEnd then return {} end
if not usersBefore and not addsUp and size <= tonumber(ARGV[5]) then return {} end
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
