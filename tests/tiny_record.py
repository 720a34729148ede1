"""A small made-up record for tests: one war, states 1 and 2 against state 3.

Side 1: state 10 from 1 to 20 January 1900, state 20 from 3 to 12 January and again from 15 to
20 January. Side 2: state 30 throughout. Two fronts. Numbers are chosen so that every variable can
be worked out by hand.
"""

from __future__ import annotations

from pathlib import Path

B = "general_knowledge,high"
TABLES = {
    "sources": "source,citation,rights\ngeneral_knowledge,None,none\n",
    "states": "ccode,name,abb\n10,Alpha,ALP\n20,Beta,BET\n30,Gamma,GAM\n",
    "wars": f"warnum,name,start,end,peace,world_war,note,basis,confidence\n5,Test War,1900-01-01,1900-01-20,,0,,{B}\n",
    "coalitions": f"warnum,side,coordination,explanation,basis,confidence\n5,1,yes,Joint staff,{B}\n",
    "members": (
        "warnum,side,ccode,deaths,note,basis,confidence\n"
        f"5,1,10,100,,{B}\n5,1,20,32,,{B}\n5,2,30,60,,{B}\n"
    ),
    "spells": (
        "warnum,side,ccode,spell,start,end,cow_start,cow_end,date_note,basis,confidence\n"
        f"5,1,10,1,1900-01-01,1900-01-20,1900-01-01,1900-01-20,,{B}\n"
        f"5,1,20,1,1900-01-03,1900-01-12,1900-01-03,1900-01-13,It stopped a day early,{B}\n"
        f"5,1,20,2,1900-01-15,1900-01-20,1900-01-15,1900-01-20,,{B}\n"
        f"5,2,30,1,1900-01-01,1900-01-20,1900-01-01,1900-01-20,,{B}\n"
    ),
    "exits": (
        "warnum,side,ccode,spell,date,mode,fighting_stopped,partners_wish,choice,ended_war,aims_reached,"
        "aims_widened,withdrawal,explanation,basis,confidence\n"
        f"5,1,10,1,1900-01-20,war_ended,no,no,own,no,yes,no,whole,The end,{B}\n"
        f"5,1,20,1,1900-01-12,separate_peace,yes,yes,own,no,no,no,whole,It left,{B}\n"
        f"5,1,20,2,1900-01-20,war_ended,no,unclear,unclear,no,yes,no,whole,The end,{B}\n"
    ),
    "pullbacks": (
        "warnum,side,ccode,start,end,share,partners_wish,choice,explanation,basis,confidence\n"
        f"5,1,10,1900-01-10,,0.5,yes,own,Half went home,{B}\n"
    ),
    "fronts": (
        "warnum,front,name,start,end,basis,confidence\n"
        f"5,north,North,1900-01-01,1900-01-20,{B}\n5,south,South,1900-01-01,1900-01-20,{B}\n"
    ),
    "deployments": (
        "warnum,side,ccode,front,start,end,share,basis,confidence\n"
        f"5,1,10,north,1900-01-01,1900-01-20,0.75,{B}\n5,1,10,south,1900-01-01,1900-01-20,0.25,{B}\n"
        f"5,1,20,none,1900-01-03,1900-01-04,0,{B}\n5,1,20,south,1900-01-05,1900-01-20,1,{B}\n"
        f"5,2,30,north,1900-01-01,1900-01-20,0.5,{B}\n5,2,30,south,1900-01-01,1900-01-20,0.5,{B}\n"
    ),
    "forces": (
        "warnum,side,ccode,start,end,soldiers,basis,confidence\n"
        f"5,1,10,1900-01-01,1900-01-20,300,{B}\n5,1,20,1900-01-03,1900-01-20,100,{B}\n"
        f"5,2,30,1900-01-01,1900-01-20,500,{B}\n"
    ),
    "battles": (
        "warnum,battle,name,front,start,end,winner,basis,confidence\n"
        f"5,first,First,north,1900-01-02,1900-01-05,1,{B}\n5,second,Second,south,1900-01-11,1900-01-14,2,{B}\n"
    ),
    "losses": (
        "warnum,battle,side,ccode,number,measure,basis,confidence\n"
        f"5,first,1,10,40,deaths,{B}\n5,first,2,30,160,casualties,{B}\n"
        f"5,second,1,10,40,deaths,{B}\n5,second,1,20,16,deaths,{B}\n5,second,2,30,80,casualties,{B}\n"
    ),
    "aims": (
        "warnum,side,ccode,start,end,territory,regime,policy,survival,note,basis,confidence\n"
        f"5,1,10,1900-01-01,1900-01-09,1,0,0,0,,{B}\n5,1,10,1900-01-10,1900-01-20,0,1,0,0,,{B}\n"
        f"5,1,20,1900-01-03,1900-01-20,0,0,1,0,,{B}\n5,2,30,1900-01-01,1900-01-20,0,0,0,1,,{B}\n"
    ),
    "capabilities": (
        "ccode,year,cinc,milper,tpop,note,basis,confidence\n"
        f"10,1900,0.3,10,1000,,{B}\n20,1900,0.1,5,500,,{B}\n30,1900,0.2,8,800,,{B}\n"
    ),
    "regimes": (
        "ccode,year,polity2,note,basis,confidence\n"
        f"10,1900,8,,{B}\n20,1900,5,,{B}\n30,1900,-7,,{B}\n"
    ),
    "leaders": (
        "ccode,leader,start,end,note,basis,confidence\n"
        f"10,Old,1890-01-01,1900-01-08,,{B}\n10,New,1900-01-10,1905-01-01,,{B}\n"
        f"20,Queen,1880-01-01,1910-01-01,,{B}\n30,King,1880-01-01,1910-01-01,,{B}\n"
    ),
    "agreements": (
        "warnum,side,agreement,kind,name,ccode,start,end,basis,confidence\n"
        f"5,1,pact,no_separate_peace,Pact,10,1900-01-06,,{B}\n5,1,pact,no_separate_peace,Pact,20,1900-01-06,,{B}\n"
        f"5,1,league,alliance,League,10,1899-01-01,1900-01-10,{B}\n5,1,league,alliance,League,20,1899-01-01,,{B}\n"
    ),
    "cooperation": f"warnum,side,ccode,partner,earlier_war,basis,confidence\n5,1,10,20,3,{B}\n",
}  # fmt: skip


def write_tiny_record(folder: Path) -> Path:
    """Write the tables as CSV files and return the folder."""
    folder.mkdir(parents=True)
    for name, text in TABLES.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8", newline="\n")
    return folder


def edit(folder: Path, table: str, old: str, new: str) -> Path:
    """Replace the first occurrence of a text in a table; it must be there."""
    path = folder / f"{table}.csv"
    text = path.read_text(encoding="utf-8")
    assert old in text, (table, old)
    path.write_text(text.replace(old, new, 1), encoding="utf-8", newline="\n")
    return folder
