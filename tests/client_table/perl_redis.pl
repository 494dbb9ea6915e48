# The scenario groups with Perl's Redis: perl_redis.pl HOST PORT PROTOCOL PREFIX. Prints `version …`, then `ok GROUP` or
# `fail GROUP: why` for each group; prints `restart` and waits for a line where the server shall be restarted.
use strict;
use warnings;
use Redis;
use Time::HiRes qw(usleep);

my ($host, $port, undef, $p) = @ARGV;
my $t = "{$p}";    # keys with it share a slot, keys without do not
$| = 1;

sub client { Redis->new(server => "$host:$port", read_timeout => 20, cnx_timeout => 5, @_) }

sub show {
    my ($value) = @_;
    return 'undef' unless defined $value;
    return ref $value eq 'ARRAY' ? '[' . join(', ', map { show($_) } @$value) . ']' : "'$value'";
}

sub equal {
    my ($got, $wanted) = @_;
    die 'got ' . show($got) . ', wanted ' . show($wanted) . ' at line ' . (caller)[2] . "\n" if show($got) ne show($wanted);
}

sub raises {
    my ($part, $call) = @_;
    my $got = eval { $call->() };
    die "$@ does not say $part\n" if index($@, $part) < 0;
}

# Sends one command a little later, from a process of its own.
sub soon {
    my @command = @_;
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    usleep(50_000);
    my $name = lc shift @command;
    client()->$name(@command);
    require POSIX;
    POSIX::_exit(0);
}

my @groups = (
    connect => sub {
        my $r = client(name => 'table', reconnect => 2, every => 1000);
        equal([$r->client_getname, $r->ping, $r->echo('x'), $r->select(0)], ['table', 'PONG', 'x', 'OK']);
        equal($r->info->{role}, 'master');
        raises('unknown command', sub { $r->nosuchcommand('a') });
        equal($r->quit, 1);
    },
    strings => sub {
        my $r = shift;
        equal([$r->set("$p:s", 'v'), $r->get("$p:s"), $r->get("$p:none")], ['OK', 'v', undef]);
        equal([scalar $r->set("$p:s", 'w', 'NX'), $r->setex("$p:s", 100, 'w'), $r->incrby("$p:n", 5)], [undef, 'OK', 5]);
        my @keys = map { "$p:m$_" } 0 .. 19;
        equal([$r->mset(map { ($keys[$_], $_) } 0 .. 19), $r->mget(@keys, "$p:none")], ['OK', 0 .. 19, undef]);
        equal([$r->exists(@keys), $r->del(@keys)], [20, 20]);
        raises('not an integer', sub { $r->incr("$p:s") });
    },
    hashes => sub {
        my $r = shift;
        equal([$r->hset("$p:h", 'a', 1), $r->hmset("$p:h", 'b', 2), $r->hmget("$p:h", 'a', 'z')], [1, 'OK', 1, undef]);
        my %all = $r->hgetall("$p:h");
        equal([map { ($_, $all{$_}) } sort keys %all], ['a', 1, 'b', 2]);
        equal([$r->hincrby("$p:h", 'a', 4), $r->hdel("$p:h", 'b'), $r->hlen("$p:h")], [5, 1, 1]);
    },
    lists => sub {
        my $r = shift;
        equal([$r->rpush("$p:l", 'b', 'c'), $r->lpush("$p:l", 'a'), $r->lrange("$p:l", 0, -1)], [2, 3, 'a', 'b', 'c']);
        equal([$r->lpop("$p:l"), $r->rpop("$p:l"), $r->llen("$p:l")], ['a', 'c', 1]);
    },
    sets => sub {
        my $r = shift;
        equal([$r->sadd($t . '1', 'a', 'b'), $r->sadd($t . '2', 'b', 'c'), $r->sinter($t . '1', $t . '2')], [2, 2, 'b']);
        equal([sort $r->smembers($t . '1')], ['a', 'b']);
    },
    'sorted-sets' => sub {
        my $r = shift;
        equal([$r->zadd($t . 'z', 1, 'a', 2.5, 'b'), $r->zscore($t . 'z', 'b'), $r->zincrby($t . 'z', 2, 'a')], [2, 2.5, 3]);
        equal([$r->zrange($t . 'z', 0, -1, 'WITHSCORES')], ['b', 2.5, 'a', 3]);
    },
    streams => sub {
        my $r = shift;
        my $id = $r->xadd("$p:x", '*', 'f', 1);
        equal([$r->xlen("$p:x"), $r->xrange("$p:x", '-', '+')], [1, [$id, ['f', 1]]]);
        equal([$r->xgroup('CREATE', "$p:x", 'g', 0), $r->xreadgroup('GROUP', 'g', 'me', 'STREAMS', "$p:x", '>')],
            ['OK', ["$p:x", [[$id, ['f', 1]]]]]);
        equal(scalar $r->xack("$p:x", 'g', $id), 1);
    },
    pipelines => sub {
        my $r = shift;
        my @got;
        for my $i (0 .. 199) {
            $r->set("$p:p$i", $i, sub { push @got, $_[0] });
        }
        for my $i (0 .. 199) {
            $r->get("$p:p$i", sub { push @got, $_[0] });
        }
        $r->wait_all_responses;
        equal(\@got, [('OK') x 200, 0 .. 199]);
    },
    transactions => sub {
        my $r = shift;
        equal([$r->multi, $r->set($t . 't', 1), $r->incr($t . 't'), $r->exec], ['OK', 'QUEUED', 'QUEUED', 'OK', 2]);
        equal([$r->multi, $r->set($t . 't', 'x'), $r->discard, $r->get($t . 't')], ['OK', 'QUEUED', 'OK', 2]);
        $r->multi;
        raises('wrong number', sub { $r->incr($t . 't', 'too', 'many') });
        raises('EXECABORT', sub { $r->exec });
        raises('EXEC without MULTI', sub { $r->exec });
    },
    watch => sub {
        my $r = shift;
        my $k = $t . 'w';
        $r->set($k, 1);
        my (@tries, @done);
        until (@done && defined $done[0]) {
            $r->watch($k);
            push @tries, $r->get($k);
            client()->set($k, 10) if @tries == 1;
            $r->multi;
            $r->set($k, $tries[-1] + 1);
            @done = $r->exec;
        }
        equal([@tries, $r->get($k), $r->watch($k), $r->unwatch], [1, 10, 11, 'OK', 'OK']);
    },
    scripts => sub {
        my $r = shift;
        equal([$r->eval('return {KEYS[1], ARGV[1], 7}', 1, "$p:e", 'a'), $r->eval('return ARGV[1]', 0, 'x')], ["$p:e", 'a', 7, 'x']);
        my $sha = $r->script_load("return ARGV[1] .. '$p'");
        equal([$r->script_exists($sha), $r->evalsha($sha, 1, "$p:e", 'b')], [1, 'b' . $p]);
        raises('NOSCRIPT', sub { $r->evalsha('0' x 40, 1, "$p:e") });
    },
    blocking => sub {
        my $r = shift;
        equal([grep { defined } $r->blpop($t . 'b', 1)], []);
        my $other = soon('RPUSH', $t . 'b', 'late');
        equal([$r->blpop($t . 'b', 0)], [$t . 'b', 'late']);
        waitpid $other, 0;
        $other = soon('RPUSH', "$p:q2", 'late');
        equal([$r->brpop("$p:q1", "$p:q2", 0)], ["$p:q2", 'late']);
        waitpid $other, 0;
    },
    pubsub => sub {
        my $r = shift;
        my @heard;
        my $hear = sub { push @heard, [@_[0, 1]] };
        $r->subscribe("$p:c1", $hear);
        $r->psubscribe("$p:*", $hear);
        my $other = client();
        equal(scalar $other->publish("$p:c1", 'hello'), 2);
        $r->wait_for_messages(1) while @heard < 2;
        equal(\@heard, [['hello', "$p:c1"], ['hello', "$p:c1"]]);
        $r->unsubscribe("$p:c1", $hear);
        $r->punsubscribe("$p:*", $hear);
        equal(scalar $r->get("$p:none"), undef);
    },
    scan => sub {
        my $r = shift;
        my @keys = sort map { "$p:scan:$_" } 0 .. 299;
        $r->mset(map { ($_, 1) } @keys);
        my %found;
        my $cursor = 0;
        do {
            ($cursor, my $batch) = $r->scan($cursor, 'MATCH', "$p:scan:*", 'COUNT', 50);
            $found{$_} = 1 for @$batch;
        } while $cursor;
        equal([sort keys %found], \@keys);
    },
    large => sub {
        my $r = shift;
        my $value = '0123456789abcdef' x (1 << 20);
        equal(scalar $r->set("$p:large", $value), 'OK');
        die "another value\n" if $r->get("$p:large") ne $value;
        $r->del("$p:large");
    },
    reconnect => sub {
        my $r = client(reconnect => 20, every => 20_000);
        equal(scalar $r->set("$p:r", 1), 'OK');
        print "restart\n";
        <STDIN>;
        equal([$r->set("$p:r", 2), $r->get("$p:r")], ['OK', 2]);
    },
);

print "version $Redis::VERSION\n";
while (my ($name, $group) = splice @groups, 0, 2) {
    my $done = eval {
        local $SIG{ALRM} = sub { die "it did not end\n" };
        alarm 30;
        $group->(client());
        alarm 0;
        1;
    };
    my $why = $@;
    alarm 0;
    $why =~ s/\s+/ /g;
    print $done ? "ok $name\n" : "fail $name: " . substr($why, 0, 600) . "\n";
}
