/* What the sanitizers are told in test builds. A shim has no environment from which they could read it.
 *
 * A shim may not be traced, and the look for leaks traces; besides, it allocates nothing.
 */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0:detect_stack_use_after_return=1:abort_on_error=1";
}

const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void)
{
    return "print_stacktrace=1:halt_on_error=1:abort_on_error=1";
}
