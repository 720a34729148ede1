# Makes the reference values for a file with the archive's schema: its 22 Cox models and two probits.
#   Rscript tests/reference/make_archive.R      (Debian packages r-cran-survival, r-cran-haven)
# Reads archive_simulated.dta.gz (made by tests/archive/simulate.py; no real data) with haven, so that
# the reading of Stata's format is checked, too; writes archive_values.csv and archive_versions.txt.
# stset's rules, Stata's `if` and the probit's likelihood are written out here in plain R.
library(survival)
folder <- dirname(sub("--file=", "", grep("--file=", commandArgs(FALSE), value = TRUE)))
out <- list()
add <- function(model, quantity, term, value, other = "") {
  out[[length(out) + 1]] <<- data.frame(model, quantity, term, other, value = sprintf("%.17g", value))
}

file <- haven::zap_labels(haven::read_dta(file.path(folder, "archive_simulated.dta.gz")))
file <- as.data.frame(lapply(file, as.numeric))
for (name in names(file)) {
  add("file", "sum", name, sum(file[[name]], na.rm = TRUE))
  add("file", "missing", name, sum(is.na(file[[name]])))
}

# stset warday, id(idvar) failure(F)
stset <- function(data, failure) {
  data <- data[!is.na(data$idvar) & !is.na(data$warday), ]
  parts <- lapply(split(data, data$idvar), function(one) {
    one <- one[order(one$warday), ]
    one$t0 <- c(0, one$warday[-nrow(one)])
    one$d <- as.numeric(!is.na(one[[failure]]) & one[[failure]] != 0)
    failed <- which(one$d == 1)
    if (length(failed) > 0) one <- one[seq_len(failed[1]), ]
    one <- one[one$warday > 0, ]
    one$t0 <- pmax(one$t0, 0)
    one
  })
  do.call(rbind, parts)
}
# Stata's >, in which a missing value is larger than any number.
larger <- function(x, than) is.na(x) | x > than

full <- c("foverlap", "ctrend60", "pvict", "imptce", "recexit", "demdum", "newlead", "sepdum")
put <- function(old, new) replace(full, full == old, new)
everyone <- function(d) rep(TRUE, nrow(d))
no_world_wars <- function(d) !(d$warnum %in% c(106, 139))
coordinated <- function(d) !(d$warnum %in% 108 & d$side %in% 2)
major <- function(d) larger(d$contribpc, 0.1)
altered <- file
altered$withdraw[file$warnum %in% c(22, 28, 155)] <- 0
declared <- list(withdraw = stset(file, "withdraw"), volunt = stset(file, "volunt"), altered = stset(altered, "withdraw"))
for (name in names(declared)) {
  add(name, "n_obs", "", nrow(declared[[name]]))
  add(name, "n_subject", "", length(unique(declared[[name]]$idvar)))
  add(name, "n_event", "", sum(declared[[name]]$d))
  add(name, "time_at_risk", "", sum(declared[[name]]$warday - declared[[name]]$t0))
}

models <- list(
  "table1/wd_coalition" = list("withdraw", c("foverlap", "ctrend60"), everyone),
  "table1/wd_own" = list("withdraw", c("foverlap", "otrend60"), everyone),
  "table1/vol_coalition" = list("volunt", c("foverlap", "ctrend60"), everyone),
  "table1/vol_own" = list("volunt", c("foverlap", "otrend60"), everyone),
  "table2/controls" = list("withdraw", c("recexit", "pvict", "imptce", "newlead", "demdum", "sepdum"), everyone),
  "table2/full" = list("withdraw", full, everyone),
  "table2/voluntary" = list("volunt", full, everyone),
  "table2/ally_relations" = list("withdraw", c(put("sepdum", "intdum"), "cooppc"), everyone),
  "table2/no_world_wars" = list("withdraw", full, no_world_wars),
  "appendix1/no_war_end" = list("altered", full, everyone),
  "appendix1/no_noncoord" = list("withdraw", full, coordinated),
  "appendix1/no_minor" = list("withdraw", full, major),
  "appendix1a/war_aims" = list("withdraw", c(full, "terraim", "regaim"), everyone),
  "appendix1a/battle_deaths" = list("withdraw", c(full, "lnodead"), everyone),
  "appendix1a/alt_deaths" = list("withdraw", c(full, "lnodead2"), everyone),
  "appendix1a/late_joiner" = list("withdraw", c(full, "latejoin"), everyone),
  "appendix1a/alt_importance" = list("withdraw", put("imptce", "contribpc"), everyone),
  "appendix2/polity" = list("withdraw", put("demdum", "polity2"), everyone),
  "appendix2/recexit2" = list("withdraw", put("recexit", "recexit2"), everyone),
  "appendix2/seppc" = list("withdraw", put("sepdum", "seppc"), everyone),
  "appendix2/actdum" = list("withdraw", put("sepdum", "actdum"), everyone),
  "appendix2/actpc" = list("withdraw", put("sepdum", "actpc"), everyone))

write_fit <- function(model, terms, coef, covariance, loglik, rows, events) {
  g <- length(unique(rows$coalid))
  add(model, "coef", terms, coef)
  # Stata's small-sample factor.
  add(model, "std_error", terms, sqrt(diag(covariance) * g / (g - 1)))
  add(model, "loglik_null", "", loglik[1])
  add(model, "loglik", "", loglik[2])
  add(model, "n_obs", "", nrow(rows))
  add(model, "n_subject", "", length(unique(rows$idvar[!is.na(rows$idvar)])))
  add(model, "n_event", "", sum(events))
  add(model, "n_cluster", "", g)
}
complete <- function(rows, names) rows[complete.cases(rows[names]), ]
control <- coxph.control(eps = 1e-14, toler.chol = 1e-13, iter.max = 100)
for (name in names(models)) {
  spec <- models[[name]]
  rows <- declared[[spec[[1]]]]
  rows <- complete(rows[spec[[3]](rows), ], c(spec[[2]], "coalid"))
  formula <- as.formula(paste("Surv(t0, warday, d) ~", paste(spec[[2]], collapse = " + ")))
  fit <- coxph(formula, data = rows, ties = "breslow", cluster = coalid, control = control)
  write_fit(name, spec[[2]], fit$coefficients, fit$var, fit$loglik, rows, rows$d)
}

# probit y x, cluster(coalid): Newton's method; the sandwich's bread is the observed information, as in Stata.
probit <- function(y, x, cluster) {
  b <- glm.fit(x, y, family = binomial("probit"))$coefficients
  q <- 2 * y - 1
  for (step in 1:50) {
    eta <- drop(x %*% b)
    lambda <- q * exp(dnorm(eta, log = TRUE) - pnorm(q * eta, log.p = TRUE))
    bread <- solve(crossprod(x, x * (lambda * (lambda + eta))))
    b <- b + drop(bread %*% crossprod(x, lambda))
  }
  meat <- crossprod(rowsum(x * lambda, cluster))
  p <- mean(y)
  null <- sum(y) * log(p) + sum(1 - y) * log(1 - p)
  list(b = b, v = bread %*% meat %*% bread, loglik = c(null, sum(pnorm(q * eta, log.p = TRUE))))
}
# A probit knows nothing of stset: rows after a failure are used, too.
days <- list("appendix4/first_day" = file$warday %in% 1, "appendix4/last_day" = file$finalobs %in% 1)
for (name in names(days)) {
  rows <- complete(file[days[[name]], ], c("sepdum", "foverlap", "coalid"))
  fit <- probit(rows$sepdum, cbind(foverlap = rows$foverlap, "_cons" = 1), rows$coalid)
  write_fit(name, c("foverlap", "_cons"), fit$b, fit$v, fit$loglik, rows, rows$sepdum)
}

write.csv(do.call(rbind, out), file.path(folder, "archive_values.csv"), row.names = FALSE, quote = FALSE)
writeLines(c(R.version.string, paste("survival", packageVersion("survival")), paste("haven", packageVersion("haven"))),
           file.path(folder, "archive_versions.txt"))
