# Makes the reference values for the data contract and the curves with R's survival package.
#   Rscript tests/reference/make_stset.R      (Debian packages r-cran-survival, r-cran-epi)
# Reads data/*.csv, writes stset_diet.csv (Epi's diet data, days since 1 January 1960), stset_panel.csv
# (a panel with planted faults) and stset_values.csv.
library(survival)
folder <- dirname(sub("--file=", "", grep("--file=", commandArgs(FALSE), value = TRUE)))
out <- list()
add <- function(model, quantity, term, other, value) {
  if (length(value) == 0) return(invisible())
  out[[length(out) + 1]] <<- data.frame(model, quantity, term, other, value = sprintf("%.17g", value))
}
read <- function(name) read.csv(file.path(folder, "data", paste0(name, ".csv")))

# Clayton and Hills' diet study: the example of Stata's manual.
data(diet, package = "Epi")
day <- function(x) as.integer(as.Date(x) - as.Date("1960-01-01"))
write.csv(data.frame(id = diet$id, doe = day(diet$doe), dox = day(diet$dox), dob = day(diet$dob), fail = diet$fail),
          file.path(folder, "stset_diet.csv"), row.names = FALSE, quote = FALSE)

# Curves: formula, data, id, weights, cluster, type of interval.
curves <- list(
  heart_transplant = list("Surv(start, stop, event)", "heart", "transplant", id = "id", type = "log-log"),
  heart_plain = list("Surv(start, stop, event)", "heart", NULL, id = "id", type = "plain"),
  heart_log = list("Surv(start, stop, event)", "heart", "surgery", id = "id", type = "log"),
  heart_cluster = list("Surv(start, stop, event)", "heart", "transplant", cluster = "id", type = "log-log"),
  cgd_treat = list("Surv(tstart, tstop, status)", "cgd", "treat", id = "id", type = "log-log"),
  cgd_center = list("Surv(tstart, tstop, status)", "cgd", NULL, cluster = "center", type = "plain"),
  bladder = list("Surv(start, stop, event)", "bladder2", "rx", id = "id", type = "log"),
  pbcseq = list("Surv(tstart, tstop, death)", "pbcseq", "edema", id = "id", type = "log-log"),
  mgus = list("Surv(entry, futime, death)", "mgus2", "female", type = "log-log"),
  veteran = list("Surv(time, status)", "veteran", "cell", type = "log-log"),
  lung_weights = list("Surv(time, event)", "lung", "sex", weights = "case", type = "log-log"),
  lung_weights_cluster = list("Surv(time, event)", "lung", "sex", weights = "case", cluster = "inst", type = "log"),
  rats_litter = list("Surv(time, status)", "rats", "rx", cluster = "litter", type = "log-log"))
for (name in names(curves)) {
  spec <- curves[[name]]
  d <- read(spec[[2]])
  groups <- if (is.null(spec[[3]])) rep("all", nrow(d)) else d[[spec[[3]]]]
  for (group in unique(groups)) {
    part <- d[groups == group, ]
    arguments <- list(as.formula(paste(spec[[1]], "~ 1")), data = part, conf.type = spec$type,
                      robust = !is.null(spec$cluster))
    if (!is.null(spec$weights)) arguments$weights <- part[[spec$weights]]
    if (!is.null(spec$cluster)) arguments$cluster <- part[[spec$cluster]]
    if (!is.null(spec$id)) arguments$id <- part[[spec$id]]
    fit <- do.call(survfit, arguments)
    all <- summary(fit, censored = TRUE)
    at <- sprintf("%.17g", all$time[all$n.event > 0])
    group <- as.character(group)
    for (quantity in c("n.risk", "n.event", "surv", "std.err", "lower", "upper", "cumhaz", "std.chaz"))
      add(name, quantity, group, at, all[[quantity]][all$n.event > 0])
    if (!is.null(spec$id)) add(name, "n.censor", group, "", sum(all$n.censor))
  }
}

# Log-rank tests: survdiff for right-censored data; the score test of the exact partial likelihood for the rest.
right <- list(
  veteran_cell = list("Surv(time, status) ~ cell", "veteran", 0),
  veteran_strata = list("Surv(time, status) ~ trt + strata(cell)", "veteran", 0),
  veteran_peto = list("Surv(time, status) ~ cell", "veteran", 1),
  veteran_half = list("Surv(time, status) ~ trt + strata(cell)", "veteran", 0.5),
  lung_sex = list("Surv(time, event) ~ sex + strata(ph_ecog)", "lung", 0),
  rats_rx = list("Surv(time, status) ~ rx + strata(female)", "rats", 0),
  kidney_female = list("Surv(time, status) ~ female", "kidney", 1))
for (name in names(right)) {
  spec <- right[[name]]
  fit <- survdiff(as.formula(spec[[1]]), data = read(spec[[2]]), rho = spec[[3]])
  sums <- function(x) if (is.matrix(x)) rowSums(x) else x
  add(name, "chisq", "", "", fit$chisq)
  add(name, "observed", seq_along(sums(fit$obs)) - 1, "", sums(fit$obs))
  add(name, "expected", seq_along(sums(fit$exp)) - 1, "", sums(fit$exp))
}
counting <- list(
  heart_transplant = list("Surv(start, stop, event) ~ factor(transplant)", "heart"),
  heart_strata = list("Surv(start, stop, event) ~ factor(transplant) + strata(surgery)", "heart"),
  cgd_treat = list("Surv(tstart, tstop, status) ~ factor(treat) + strata(hos_cat)", "cgd"),
  cgd_center = list("Surv(tstart, tstop, status) ~ factor(hos_cat)", "cgd"),
  pbcseq_edema = list("Surv(tstart, tstop, death) ~ factor(edema)", "pbcseq"))
for (name in names(counting)) {
  spec <- counting[[name]]
  # The score test is at 0: the fit itself is not needed.
  fit <- suppressWarnings(coxph(as.formula(spec[[1]]), data = read(spec[[2]]), ties = "exact",
                                control = coxph.control(iter.max = 0)))
  add(paste0("score_", name), "chisq", "", "", fit$score)
}

# The same test where ties are too many for the exact likelihood: summed event time by event time.
by_hand <- function(d, start, stop, event, group, strata) {
  levels <- sort(unique(d[[group]]))
  observed <- expected <- numeric(length(levels))
  covariance <- matrix(0, length(levels), length(levels))
  for (part in split(d, d[[strata]])) for (t in unique(part[[stop]][part[[event]] == 1])) {
    risk <- part[part[[start]] < t & t <= part[[stop]], ]
    y <- sapply(levels, function(g) sum(risk[[group]] == g))
    o <- sapply(levels, function(g) sum(risk[[group]] == g & risk[[event]] == 1 & risk[[stop]] == t))
    share <- y / sum(y)
    observed <- observed + o
    expected <- expected + sum(o) * share
    if (sum(y) > 1)
      covariance <- covariance + sum(o) * (sum(y) - sum(o)) / (sum(y) - 1) * (diag(share) - outer(share, share))
  }
  difference <- (observed - expected)[-1]
  list(chisq = sum(difference * solve(covariance[-1, -1, drop = FALSE], difference)), obs = observed, exp = expected)
}
sums <- list(bladder_rx = list("bladder2", "start", "stop", "event", "rx", "enum"),
             mgus_female = list("mgus2", "entry", "futime", "death", "female", "decade"),
             cgd_inherit = list("cgd", "tstart", "tstop", "status", "hos_cat", "treat"))
for (name in names(sums)) {
  fit <- do.call(by_hand, c(list(read(sums[[name]][[1]])), sums[[name]][-1]))
  add(paste0("sums_", name), "chisq", "", "", fit$chisq)
  add(paste0("sums_", name), "observed", seq_along(fit$obs) - 1, "", fit$obs)
  add(paste0("sums_", name), "expected", seq_along(fit$exp) - 1, "", fit$exp)
}

# A panel with planted faults; codes 1 and 2 are states entered.
set.seed(20240214)
rows <- list()
for (id in 1:60) {
  ends <- cumsum(sample(1:9, 5, replace = TRUE))
  starts <- c(0, ends[-5])
  status <- sample(0:2, 5, replace = TRUE, prob = c(0.7, 0.2, 0.1))
  current <- 0
  state <- integer(5)
  for (k in 1:5) { state[k] <- current; if (status[k] > 0) current <- status[k] }
  rows[[id]] <- data.frame(id = id, start = starts, stop = ends, status = status, state = state)
}
panel <- do.call(rbind, rows)
first <- c(TRUE, diff(panel$id) != 0)
hit <- function(n) sample(which(!first), n)
k <- hit(12); panel$start[k] <- panel$start[k] - 0.5              # overlaps
k <- hit(12); panel$start[k] <- panel$start[k] + 0.25             # gaps
k <- hit(12); panel$state[k] <- (panel$state[k] + 1) %% 3         # jumps and teleports
panel <- rbind(panel, panel[sample(nrow(panel), 5), ])            # duplicates
k <- sample(nrow(panel), 4); panel$stop[k] <- panel$start[k]      # no length
k <- sample(nrow(panel), 3); panel$stop[k] <- panel$start[k] - 1  # negative length
panel <- panel[sample(nrow(panel)), ]
write.csv(panel, file.path(folder, "stset_panel.csv"), row.names = FALSE, quote = FALSE)
panel <- read.csv(file.path(folder, "stset_panel.csv"))
report <- function(name, fit) {
  for (flag in c("overlap", "gap", "jump", "teleport")) {
    add(name, "count", flag, "", fit$flag[[flag]])
    add(name, "row", flag, "", sort(fit[[flag]]$row))
  }
  add(name, "n", "", "", fit$n[["observations"]])
  add(name, "events", rownames(t(fit$events)), "", t(fit$events)[, "(any)"])
}
# Surv() makes rows without a positive length missing; their numbers in the data are kept.
with_states <- suppressWarnings(survcheck(Surv(start, stop, factor(status, 0:2)) ~ 1, data = panel, id = id,
                                          istate = factor(state, 0:2)))
report("states", with_states)
report("plain", suppressWarnings(survcheck(Surv(start, stop, status > 0) ~ 1, data = panel, id = id)))

write.csv(do.call(rbind, out), file.path(folder, "stset_values.csv"), row.names = FALSE, quote = FALSE)
