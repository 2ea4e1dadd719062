/*
 * members: what a family looks like from inside, for who looks for a hang or a leak: the module
 * luamp.members. It reads what every wait publishes (core/wait.h) and what the arena counts. It
 * changes nothing but that it buries who is dead.
 */
#include "object.h"

/* Sets in the table on top what the member waits for, if it does. */
static void
set_wait(lua_State *L, uint32_t member)
{
    struct amp_what what;
    if (!amp_member_waiting(member, &what, NULL))
        return;
    luampO_push_awaited(L, &what);
    lua_setfield(L, -2, "waits_for");
    lua_pushnumber(L, (lua_Number) (amp_now() - what.since) / AMP_SECOND);
    lua_setfield(L, -2, "seconds");
    char name[AMP_NAME_SIZE];
    const char *holder = what.lock ? luampO_holder(amp_at(what.lock), name) : NULL;
    if (holder) {
        lua_pushstring(L, holder);
        lua_setfield(L, -2, "held_by");
    }
}

/* list(): a table {name =, pid =, waits_for =, seconds =, held_by =} for each member that lives. Of
   those that others are, each may have gone on by the time it is read. */
static int
members_list(lua_State *L)
{
    luampB_join_family(L);
    lua_newtable(L);
    uint32_t top = amp_members_top();
    for (uint32_t i = 0, n = 0; i < top; i++) {
        const struct amp_member *m = amp_member_at(i);
        if (amp_member_phase(m) != AMP_LIVE || !amp_member_lives(i, amp_member_generation(m)))
            continue;
        char name[AMP_NAME_SIZE];
        amp_member_name(i, name);
        lua_newtable(L);
        lua_pushstring(L, name);
        lua_setfield(L, -2, "name");
        /* relaxed: a number that is told */
        lua_pushinteger(L, atomic_load_explicit(&m->m_pid, memory_order_relaxed));
        lua_setfield(L, -2, "pid");
        set_wait(L, i);
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

/* objects(): a table {class =, name =, held_by = {names}} for each shared object, in the order of their
   places in the arena. One that nobody holds is carried: see handle.h. */
static int
members_objects(lua_State *L)
{
    luampB_join_family(L);
    amp_roster_sweep();
    lua_newtable(L);
    uint32_t top = amp_cells_top();
    for (uint32_t i = 1, n = 0; i < top; i++) {
        enum amp_kind kind;
        char name[AMP_CELL_NAME], holder[AMP_NAME_SIZE];
        amp_handle handle = amp_cell_told(i, &kind, name);
        if (handle == 0)
            continue;
        lua_newtable(L);
        lua_pushstring(L, luampO_kind_name(kind));
        lua_setfield(L, -2, "class");
        lua_pushstring(L, name);
        lua_setfield(L, -2, "name");
        lua_newtable(L);
        uint32_t members = amp_members_top();
        for (uint32_t m = 0, held = 0; m < members; m++) {
            if (!amp_holds(m, handle))
                continue;
            amp_member_name(m, holder);
            lua_pushstring(L, holder);
            lua_rawseti(L, -2, ++held);
        }
        lua_setfield(L, -2, "held_by");
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

/* memory(): bytes of shared memory that objects have for their contents, how many objects there are,
   and how many members' deaths were recovered so far. */
static int
members_memory(lua_State *L)
{
    luampB_join_family(L);
    amp_roster_sweep();
    lua_pushinteger(L, (lua_Integer) amp_arena_used());
    lua_pushinteger(L, amp_cells_live());
    lua_pushinteger(L, atomic_load_explicit(&amp_arena.header->h_deaths, memory_order_relaxed));
    return 3;
}

int
luampB_open_members(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"list", members_list},
        {"memory", members_memory},
        {"objects", members_objects},
        {NULL, NULL},
    };
    luaL_newlib(L, functions);
    return 1;
}
