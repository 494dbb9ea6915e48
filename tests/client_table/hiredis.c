/* The scenario groups with hiredis: hiredis HOST PORT PROTOCOL PREFIX. Prints `version …`, then `ok GROUP` or
 * `fail GROUP: why` for each group; prints `restart` and waits for a line where the server shall be restarted. */
#include <hiredis/hiredis.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *host, *prefix;
static int port;
static jmp_buf failed;
static char why[1024];

static void fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    longjmp(failed, 1);
}

static redisContext *try_connect(void) {
    struct timeval timeout = {5, 0}, reply_timeout = {20, 0};
    redisContext *c = redisConnectWithTimeout(host, port, timeout);
    if (c && !c->err) redisSetTimeout(c, reply_timeout);
    return c;
}

static redisContext *client(void) {
    redisContext *c = try_connect();
    if (!c || c->err) fail("connect: %s", c ? c->errstr : "no memory");
    return c;
}

/* A reply as text: arrays in brackets, nil for nothing, ! before an error. */
static void show(const redisReply *r, char *out, size_t size) {
    size_t n = strlen(out);
    switch (r->type) {
    case REDIS_REPLY_NIL: snprintf(out + n, size - n, "nil"); break;
    case REDIS_REPLY_INTEGER: snprintf(out + n, size - n, "%lld", r->integer); break;
    case REDIS_REPLY_ERROR: snprintf(out + n, size - n, "!%s", r->str); break;
    case REDIS_REPLY_ARRAY:
        strncat(out, "[", size - n - 1);
        for (size_t i = 0; i < r->elements; i++) {
            if (i) strncat(out, " ", size - strlen(out) - 1);
            show(r->element[i], out, size);
        }
        strncat(out, "]", size - strlen(out) - 1);
        break;
    default: snprintf(out + n, size - n, "%s", r->str);
    }
}

static void check(redisContext *c, redisReply *r, const char *what, const char *wanted) {
    char got[2048] = "";
    if (!r) fail("%s: %s", what, c->errstr);
    show(r, got, sizeof got);
    freeReplyObject(r);
    /* An error need only begin so. */
    if (wanted[0] == '!' ? strncmp(got, wanted, strlen(wanted)) : strcmp(got, wanted))
        fail("%s: got %.200s, wanted %.200s", what, got, wanted);
}

/* `@` in a command and in its reply stands for the prefix, `#` for the prefix as a tag: keys with it share a slot. */
static const char *expand(const char *text) {
    static char ring[8][2048];
    static int next;
    char *start = ring[next++ % 8], *out = start;
    for (; *text; text++) {
        if (*text == '@') out += sprintf(out, "%s", prefix);
        else if (*text == '#') out += sprintf(out, "{%s}", prefix);
        else *out++ = *text;
    }
    *out = 0;
    return start;
}

static void is(redisContext *c, const char *command, const char *wanted) {
    check(c, redisCommand(c, expand(command)), command, expand(wanted));
}

/* The next reply, to a command that was appended or to a subscription. */
static void next_is(redisContext *c, const char *wanted) {
    void *reply = NULL;
    redisGetReply(c, &reply);
    check(c, reply, "the next reply", expand(wanted));
}

/* Sends one command a little later, from a process of its own. */
static void soon(const char *command) {
    fflush(stdout);
    if (fork()) return;
    usleep(50000);
    redisContext *c = try_connect();
    if (c && !c->err) redisCommand(c, expand(command));
    _exit(0);
}

static void connecting(redisContext *c) {
    is(c, "CLIENT SETNAME table", "OK");
    is(c, "CLIENT GETNAME", "table");
    is(c, "PING", "PONG");
    is(c, "ECHO x", "x");
    is(c, "SELECT 0", "OK");
    is(c, "NOSUCHCOMMAND a", "!ERR unknown command 'NOSUCHCOMMAND', with args beginning with: 'a'");
    if (redisEnableKeepAlive(c) != REDIS_OK) fail("keepalive: %s", c->errstr);
}

static void strings(redisContext *c) {
    is(c, "SET @:s v", "OK");
    is(c, "GET @:s", "v");
    is(c, "GET @:none", "nil");
    is(c, "SET @:s w NX", "nil");
    is(c, "SETEX @:s 100 w", "OK");
    is(c, "INCRBY @:n 5", "5");
    is(c, "MSET @:1 a @:2 b @:3 c", "OK");
    is(c, "MGET @:1 @:none @:2 @:3", "[a nil b c]");
    is(c, "DEL @:1 @:2 @:3 @:none", "3");
    is(c, "INCR @:s", "!ERR value is not an integer");
    check(c, redisCommand(c, "SET %s:b %b", prefix, "\0\r\n", (size_t)3), "SET", "OK");
    redisReply *r = redisCommand(c, "GET %s:b", prefix);
    if (!r || r->len != 3 || memcmp(r->str, "\0\r\n", 3)) fail("binary value");
    freeReplyObject(r);
}

static void hashes(redisContext *c) {
    is(c, "HSET @:h a 1", "1");
    is(c, "HMSET @:h b 2", "OK");
    is(c, "HMGET @:h a z b", "[1 nil 2]");
    is(c, "HINCRBY @:h a 4", "5");
    is(c, "HDEL @:h b", "1");
    is(c, "HGETALL @:h", "[a 5]");
    is(c, "HSCAN @:h 0", "[0 [a 5]]");
}

static void lists(redisContext *c) {
    is(c, "RPUSH @:l b c", "2");
    is(c, "LPUSH @:l a", "3");
    is(c, "LRANGE @:l 0 -1", "[a b c]");
    is(c, "LPOP @:l", "a");
    is(c, "RPOP @:l 2", "[c b]");
    is(c, "LPOP @:l", "nil");
}

static void sets(redisContext *c) {
    is(c, "SADD #1 a b", "2");
    is(c, "SADD #2 b c", "2");
    is(c, "SINTER #1 #2", "[b]");
    is(c, "SMISMEMBER #1 a z", "[1 0]");
    is(c, "SCARD #1", "2");
}

static void sorted_sets(redisContext *c) {
    is(c, "ZADD #z 1 a 2.5 b", "2");
    is(c, "ZSCORE #z b", "2.5");
    is(c, "ZINCRBY #z 2 a", "3");
    is(c, "ZRANGE #z 0 -1 WITHSCORES", "[b 2.5 a 3]");
    is(c, "ZPOPMIN #z", "[b 2.5]");
}

static void streams(redisContext *c) {
    is(c, "XADD @:x 1-1 f 1", "1-1");
    is(c, "XRANGE @:x - +", "[[1-1 [f 1]]]");
    is(c, "XGROUP CREATE @:x g 0", "OK");
    is(c, "XREADGROUP GROUP g me STREAMS @:x >", "[[@:x [[1-1 [f 1]]]]]");
    is(c, "XACK @:x g 1-1", "1");
}

static void pipelines(redisContext *c) {
    char number[16];
    for (int i = 0; i < 200; i++) redisAppendCommand(c, "SET %s:p%d %d", prefix, i, i);
    for (int i = 0; i < 200; i++) redisAppendCommand(c, "GET %s:p%d", prefix, i);
    for (int i = 0; i < 200; i++) next_is(c, "OK");
    for (int i = 0; i < 200; i++) {
        sprintf(number, "%d", i);
        next_is(c, number);
    }
}

static void transactions(redisContext *c) {
    is(c, "MULTI", "OK");
    is(c, "SET #t 1", "QUEUED");
    is(c, "INCR #t", "QUEUED");
    is(c, "EXEC", "[OK 2]");
    is(c, "MULTI", "OK");
    is(c, "SET #t x", "QUEUED");
    is(c, "DISCARD", "OK");
    is(c, "GET #t", "2");
    is(c, "MULTI", "OK");
    is(c, "INCR #t too many", "!ERR wrong number of arguments");
    is(c, "EXEC", "!EXECABORT");
    is(c, "EXEC", "!ERR EXEC without MULTI");
    /* All in one write. */
    redisAppendCommand(c, "MULTI");
    redisAppendCommand(c, expand("LPUSH #tl a"));
    redisAppendCommand(c, expand("INCR #tl"));
    redisAppendCommand(c, "EXEC");
    next_is(c, "OK");
    next_is(c, "QUEUED");
    next_is(c, "QUEUED");
    next_is(c, "[1 !WRONGTYPE Operation against a key holding the wrong kind of value]");
}

static void watching(redisContext *c) {
    redisContext *other = client();
    is(c, "SET #w 1", "OK");
    is(c, "WATCH #w", "OK");
    is(c, "GET #w", "1");
    is(other, "SET #w 10", "OK");
    is(c, "MULTI", "OK");
    is(c, "SET #w 2", "QUEUED");
    is(c, "EXEC", "nil");
    is(c, "WATCH #w", "OK");
    is(c, "GET #w", "10");
    is(c, "MULTI", "OK");
    is(c, "SET #w 11", "QUEUED");
    is(c, "EXEC", "[OK]");
    is(c, "WATCH #w", "OK");
    is(c, "UNWATCH", "OK");
    redisFree(other);
}

static void scripts(redisContext *c) {
    char sha[64];
    check(c, redisCommand(c, "EVAL %s 1 %s:e a", "return {KEYS[1], ARGV[1], 7}", prefix), "EVAL", expand("[@:e a 7]"));
    check(c, redisCommand(c, "EVAL %s 0 x", "return ARGV[1]"), "EVAL without keys", "x");
    redisReply *r = redisCommand(c, "SCRIPT LOAD %s", expand("return ARGV[1] .. '@'"));
    if (!r || r->type != REDIS_REPLY_STRING) fail("SCRIPT LOAD: %s", r ? r->str : c->errstr);
    snprintf(sha, sizeof sha, "%s", r->str);
    freeReplyObject(r);
    check(c, redisCommand(c, "SCRIPT EXISTS %s", sha), "SCRIPT EXISTS", "[1]");
    check(c, redisCommand(c, "EVALSHA %s 1 %s:e b", sha, prefix), "EVALSHA", expand("b@"));
    is(c, "EVALSHA 0000000000000000000000000000000000000000 1 @:e", "!NOSCRIPT No matching script");
}

static void blocking(redisContext *c) {
    is(c, "BLPOP #b 0.1", "nil");
    soon("RPUSH #b late");
    is(c, "BLPOP #b 0", "[#b late]");
    soon("RPUSH @:q2 late");
    is(c, "BRPOP @:q1 @:q2 0", "[@:q2 late]");
    is(c, "RPUSH #b m", "1");
    is(c, "BLMOVE #b #b2 LEFT RIGHT 1", "m");
    is(c, "BZPOPMIN #none 0.1", "nil");
}

static void pubsub(redisContext *c) {
    redisContext *other = client();
    is(c, "SUBSCRIBE @:c1", "[subscribe @:c1 1]");
    is(c, "PSUBSCRIBE @:c*", "[psubscribe @:c* 2]");
    is(other, "PUBLISH @:c1 hello", "2");
    next_is(c, "[message @:c1 hello]");
    next_is(c, "[pmessage @:c* @:c1 hello]");
    is(c, "PING", "[pong ]");
    is(c, "GET @:none", "!ERR Can't execute 'get': only");
    is(c, "UNSUBSCRIBE", "[unsubscribe @:c1 1]");
    is(c, "PUNSUBSCRIBE", "[punsubscribe @:c* 0]");
    is(c, "PING", "PONG");
    redisFree(other);
}

static void scan(redisContext *c) {
    static char found[300];
    memset(found, 0, sizeof found);
    for (int i = 0; i < 300; i++) redisAppendCommand(c, "SET %s:scan:%d 1", prefix, i);
    for (int i = 0; i < 300; i++) next_is(c, "OK");
    char cursor[64] = "0";
    do {
        redisReply *r = redisCommand(c, "SCAN %s MATCH %s:scan:* COUNT 50", cursor, prefix);
        if (!r || r->type != REDIS_REPLY_ARRAY) fail("SCAN: %s", r ? r->str : c->errstr);
        for (size_t i = 0; i < r->element[1]->elements; i++) {
            int n = atoi(strrchr(r->element[1]->element[i]->str, ':') + 1);
            if (n < 0 || n >= 300) fail("SCAN found %s", r->element[1]->element[i]->str);
            found[n] = 1;
        }
        snprintf(cursor, sizeof cursor, "%s", r->element[0]->str);
        freeReplyObject(r);
    } while (strcmp(cursor, "0"));
    for (int i = 0; i < 300; i++)
        if (!found[i]) fail("SCAN did not find %d", i);
}

static void large(redisContext *c) {
    size_t size = 16 << 20;
    char *value = malloc(size);
    for (size_t i = 0; i < size; i++) value[i] = (char)(i * 31 + i / 7);
    check(c, redisCommand(c, "SET %s:large %b", prefix, value, size), "SET", "OK");
    redisReply *r = redisCommand(c, "GET %s:large", prefix);
    int same = r && r->len == size && !memcmp(r->str, value, size);
    if (r) freeReplyObject(r);
    free(value);
    if (!same) fail("another value");
    is(c, "DEL @:large", "1");
}

static void reconnecting(redisContext *c) {
    char line[64];
    is(c, "SET @:r 1", "OK");
    printf("restart\n");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) fail("no line");
    redisReply *r = redisCommand(c, "GET %s:r", prefix);
    if (r) fail("the connection outlived its server");
    if (redisReconnect(c) != REDIS_OK) fail("redisReconnect: %s", c->errstr);
    is(c, "SET @:r 2", "OK");
    is(c, "GET @:r", "2");
}

static const struct {
    const char *name;
    void (*run)(redisContext *);
} groups[] = {
    {"connect", connecting}, {"strings", strings},           {"hashes", hashes},
    {"lists", lists},        {"sets", sets},                 {"sorted-sets", sorted_sets},
    {"streams", streams},    {"pipelines", pipelines},       {"transactions", transactions},
    {"watch", watching},     {"scripts", scripts},           {"blocking", blocking},
    {"pubsub", pubsub},      {"scan", scan},                 {"large", large},
    {"reconnect", reconnecting},
};

int main(int argc, char **argv) {
    if (argc < 5) return 2;
    host = argv[1];
    port = atoi(argv[2]);
    prefix = argv[4];
    printf("version %d.%d.%d\n", HIREDIS_MAJOR, HIREDIS_MINOR, HIREDIS_PATCH);
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        if (setjmp(failed)) {
            printf("fail %s: %s\n", groups[i].name, why);
        } else {
            redisContext *c = client();
            groups[i].run(c);
            redisFree(c);
            printf("ok %s\n", groups[i].name);
        }
        fflush(stdout);
    }
    return 0;
}
