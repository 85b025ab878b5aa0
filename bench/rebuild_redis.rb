# frozen_string_literal: true

# A rival of the suite rebuild: an index that an object mapper in Ruby keeps in Redis, built anew as
# Familia's rebuild_via_instances does it: ids in batches of 100 from the sorted set of instances,
# their hashes in one pipeline, the entries in one transaction into a key of its own, which takes
# the old one's place at the end.
#
#   ruby rebuild_redis.rb DIRECTORY RECORDS
#
# Starts a redis-server of its own in DIRECTORY, durable by the second, and prints entries a second.

require "redis"

directory, records = ARGV.fetch(0), Integer(ARGV.fetch(1))
socket = File.join(directory, "redis.sock")
server = spawn("redis-server", "--port", "0", "--unixsocket", socket, "--dir", directory,
               "--save", "", "--appendonly", "yes", "--appendfsync", "everysec",
               out: File::NULL, err: File::NULL)
begin
  redis = Redis.new(path: socket, reconnect_attempts: 0)
  100.times do
    redis.ping
    break
  rescue Redis::CannotConnectError
    sleep 0.05
  end

  text = "x" * 88
  (0...records).each_slice(1_000) do |numbers|
    redis.pipelined do |pipeline|
      numbers.each do |number|
        id = format("p%015d", number)
        value = ((number * 0x9e3779b97f4a7c15) & 0xffffffffffffffff) >> 16
        pipeline.hset("person:#{id}:object", "id", id, "n", value, "v", text)
        pipeline.zadd("person:instances", number, id)
      end
    end
  end

  began = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  temporary = "person:n_index:rebuild:#{Time.now.to_i}"
  (0...records).step(100) do |first|
    ids = redis.zrange("person:instances", first, first + 99)
    people = redis.pipelined do |pipeline|
      ids.each { |id| pipeline.hgetall("person:#{id}:object") }
    end
    redis.multi do |transaction|
      people.each do |person|
        next if person.empty? || person["n"].to_s.strip.empty?

        transaction.hset(temporary, person["n"], person["id"])
      end
    end
  end
  redis.rename(temporary, "person:n_index")
  seconds = Process.clock_gettime(Process::CLOCK_MONOTONIC) - began
  found = redis.hlen("person:n_index")
  abort "redis: #{found} entries instead of #{records}" unless found == records
  puts (records / seconds).round
ensure
  Process.kill(:TERM, server)
  Process.wait(server)
end
