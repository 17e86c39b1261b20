/* WORKER. See http_date.h. The clock is asked once for each millisecond of the loop at most. strftime would speak the
 * script's locale, so the names stand here. */
#include "http_date.h"

#include <stdio.h>
#include <time.h>

static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

const char *http_date(uint64_t now_ms) {
    static uint64_t asked_ms;
    static time_t formatted;
    static char text[64];
    if (now_ms == asked_ms && formatted) return text;
    asked_ms = now_ms;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec == formatted) return text;
    formatted = now.tv_sec;
    struct tm tm;
    gmtime_r(&formatted, &tm);
    snprintf(text, sizeof text, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon],
             tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
    return text;
}
