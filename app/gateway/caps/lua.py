"""The scripts that Redis runs for reservations, each whole and alone. Amounts are nano-dollars."""

from __future__ import annotations

from typing import Final

HELD: Final = "held"
FULL: Final = "full"
MISSING: Final = "missing"
HOLD_S: Final = 3 * 86_400

# KEYS: leases, the hold, counters. ARGV: id, amount, when the lease ends, the most of each counter or nothing.
RESERVE: Final = f"""
local over = {{'{FULL}'}}
local names = {{}}
for at = 3, #KEYS do
  local spent, reserved = unpack(redis.call('HMGET', KEYS[at], 'spent', 'reserved'))
  if not spent then return {{'{MISSING}'}} end
  local most = tonumber(ARGV[at + 1])
  if most and tonumber(spent) + tonumber(reserved) + tonumber(ARGV[2]) > most then
    table.insert(over, KEYS[at])
    table.insert(over, spent)
    table.insert(over, reserved)
  end
  table.insert(names, KEYS[at])
end
if #over > 1 then return over end
for _, name in ipairs(names) do redis.call('HINCRBY', name, 'reserved', ARGV[2]) end
redis.call('HSET', KEYS[2], 'amount', ARGV[2], 'counters', table.concat(names, '\\0'))
redis.call('EXPIRE', KEYS[2], {HOLD_S})
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
return {{'{HELD}'}}
"""

_CHANGE: Final = """
local function change(hold, by)
  if by == 0 then return end
  for name in string.gmatch(redis.call('HGET', hold, 'counters'), '[^%z]+') do
    if redis.call('HEXISTS', name, 'spent') == 1 then
      redis.call('HINCRBY', name, 'reserved', string.format('%.0f', by))
    end
  end
end
"""

# KEYS: leases, settlements, the hold. ARGV: id, cost, now. A hold that is gone stays gone.
SETTLE: Final = f"""
{_CHANGE}
local amount = redis.call('HGET', KEYS[3], 'amount')
if not amount then return 0 end
change(KEYS[3], tonumber(ARGV[2]) - tonumber(amount))
redis.call('HSET', KEYS[3], 'amount', ARGV[2])
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
return 1
"""

# KEYS: leases, settlements, the hold. ARGV: id.
RELEASE: Final = f"""
{_CHANGE}
local amount = redis.call('HGET', KEYS[3], 'amount')
if amount then change(KEYS[3], -tonumber(amount)) end
redis.call('DEL', KEYS[3])
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
"""

# KEYS: a counter. ARGV: spent, version, seconds after which it may be forgotten. Whoever comes second changes nothing.
SEED: Final = """
if redis.call('HEXISTS', KEYS[1], 'spent') == 1 then return 0 end
redis.call('HSET', KEYS[1], 'spent', ARGV[1], 'version', ARGV[2], 'reserved', 0)
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""

# KEYS: a counter. ARGV: spent, version. An older version than the one there is passed over.
PUSH: Final = """
local version = redis.call('HGET', KEYS[1], 'version')
if not version or tonumber(version) >= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'spent', ARGV[1], 'version', ARGV[2])
return 1
"""
